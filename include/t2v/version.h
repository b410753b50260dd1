// The program's version.
#pragma once

namespace t2v {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace t2v
