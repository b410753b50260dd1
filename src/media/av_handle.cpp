#include "media/av_handle.h"

#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "core/escape.h"

namespace t2v::media {
namespace {

// libav's log callback is one per process, hence the one place with shared state.
std::mutex log_mutex;
std::array<char, 512> log_line{};

void keep_error_line(void* context, int level, const char* format, va_list arguments) {
  if (level > AV_LOG_ERROR) return;
  std::array<char, 512> text{};
  if (std::vsnprintf(text.data(), text.size(), format, arguments) <= 1) return;
  const AVClass* const* owner = static_cast<const AVClass* const*>(context);
  const char* name = owner && *owner ? (*owner)->item_name(context) : nullptr;
  const std::lock_guard lock(log_mutex);
  const std::string_view line(text.data());
  const auto end = line.find_last_not_of(" \r\n");
  const int length = end == std::string_view::npos ? 0 : static_cast<int>(end + 1);
  std::snprintf(log_line.data(), log_line.size(), name ? "%.*s (%s)" : "%.*s", length, text.data(),
                name);
}

}  // namespace

std::string Dictionary::first_key() const {
  const AVDictionaryEntry* entry = av_dict_get(entries_, "", nullptr, AV_DICT_IGNORE_SUFFIX);
  return entry ? entry->key : "";
}

void capture_av_log() noexcept {
  av_log_set_callback(keep_error_line);
  // SVT-AV1 prints on its own, past libav; 0: nothing but what ends the process.
  static std::once_flag once;
  std::call_once(once, [] { ::setenv("SVT_LOG", "0", /*overwrite=*/0); });
}

void forget_av_log() noexcept {
  const std::lock_guard lock(log_mutex);
  log_line[0] = '\0';
}

bool av_log_is_empty() noexcept {
  const std::lock_guard lock(log_mutex);
  return log_line[0] == '\0';
}

std::string av_reason(int code) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(code, text.data(), text.size());
  const std::lock_guard lock(log_mutex);
  const std::string more = log_line.data();
  return core::escape_control(more.empty() ? std::string(text.data()) : more, 400);
}

}  // namespace t2v::media
