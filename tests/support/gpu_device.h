// For tests that need a GPU: whether there is one, and whether sizes are to be kept tiny.
#pragma once

#include <catch2/catch.hpp>
#include <cstdlib>
#include <iostream>
#include <string>

#include "ops/backend.h"

namespace t2v::support {

// True when the tests can run; loads the back end before ATen is asked about CUDA. Without a device
// it prints the line by which ctest counts the program as skipped; T2V_REQUIRE_GPU=1 makes that a
// failure.
inline bool have_gpu() {
  static const bool available = [] {
    if (ops::count_cuda_devices() == 0) return false;
    ops::load_cuda_backend();
    return true;
  }();
  if (available) return true;
  const char* required = std::getenv("T2V_REQUIRE_GPU");
  if (required && std::string(required) == "1") FAIL("T2V_REQUIRE_GPU=1, but there is no device");
  std::cout << "SKIPPED: no CUDA device\n";
  return false;
}

// T2V_TINY=1: under compute-sanitizer everything is 10 to 100 times slower, so tests leave out
// their large shapes.
inline bool tiny_shapes_only() {
  const char* tiny = std::getenv("T2V_TINY");
  return tiny && std::string(tiny) == "1";
}

}  // namespace t2v::support
