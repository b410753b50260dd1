// Checks: T2V_REQUIRE for whatever a user or a file can cause, T2V_ASSERT for our own mistakes.
#pragma once

#include <sstream>
#include <string>

#include "t2v/error.h"

namespace t2v::core {

// Concatenates its arguments as by operator<<.
template <typename... Parts>
std::string str(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// The message of a failed T2V_ASSERT: expression, file, line.
std::string assert_message(const char* expression, const char* file, int line);

}  // namespace t2v::core

// Always on. The parts after the kind are concatenated into the message.
#define T2V_REQUIRE(cond, kind, ...)                                      \
  do {                                                                    \
    if (!(cond)) throw ::t2v::Error(kind, ::t2v::core::str(__VA_ARGS__)); \
  } while (false)

#define T2V_ASSERT(cond)                                                          \
  do {                                                                            \
    if (!(cond))                                                                  \
      throw ::t2v::Error(::t2v::ErrorKind::kInternal,                             \
                         ::t2v::core::assert_message(#cond, __FILE__, __LINE__)); \
  } while (false)
