// The only file that knows spdlog.
#include "core/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "core/escape.h"

namespace t2v::core {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::off;
}

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made =
        std::make_shared<spdlog::logger>("t2v", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("t2v: %l: %v");
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *instance;
}

LogLevel current_level = LogLevel::kInfo;

}  // namespace

void set_log_level(LogLevel level) noexcept {
  try {
    current_level = level;
    logger().set_level(to_spdlog(level));
  } catch (...) {  // a log that cannot be set up must not end the program
    return;
  }
}

LogLevel log_level() noexcept { return current_level; }

void log(LogLevel level, std::string_view message) noexcept {
  try {
    logger().log(to_spdlog(level), escape_control(message));
  } catch (...) {  // as above
    return;
  }
}

}  // namespace t2v::core
