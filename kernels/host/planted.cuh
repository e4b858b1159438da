// A kernel for tests of the emulator, in no image: an entry point with its parameters one by one.
#pragma once

#define PLANTED(threads, name, parameters, arguments, ...)        \
  static void name##_kernel parameters { __VA_ARGS__ arguments; } \
  extern "C" void engine_emulated_##name(void **values) {         \
    emulator::invoke(name##_kernel, values, threads);             \
  }
