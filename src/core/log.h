// The log: one line per message on stderr. Never used in kernels, ops or hot loops.
#pragma once

#include <string_view>

namespace t2v::core {

enum class LogLevel { kTrace, kDebug, kInfo, kWarn, kError, kOff };

// Messages below the level are dropped. Starts at kInfo.
void set_log_level(LogLevel level) noexcept;
[[nodiscard]] LogLevel log_level() noexcept;

// Thread-safe. Control bytes are escaped.
void log(LogLevel level, std::string_view message) noexcept;

}  // namespace t2v::core
