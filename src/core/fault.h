// Fault points for tests: compiled in with T2V_FAULTS=ON only, otherwise nothing.
#pragma once

#ifdef T2V_FAULTS
#include <string_view>

namespace t2v::core {

// Throws the error armed for this point, if its turn has come. Points: weights.read, device.alloc,
// sink.write, sink.commit, step.cancel.
void fault_point(std::string_view name);

// The `nth` (1-based) pass through the point from now on throws; 0 disarms.
void arm_fault(std::string_view name, int nth);

}  // namespace t2v::core

#define T2V_FAULT(name) ::t2v::core::fault_point(name)
#else
#define T2V_FAULT(name) static_cast<void>(0)
#endif
