#include "media/png_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/escape.h"
#include "media/png_file.h"

namespace t2v::media {
namespace fs = std::filesystem;
namespace {

// Digits and ".png".
bool is_frame_name(const std::string& name) {
  const size_t digits = name.find_first_not_of("0123456789");
  return digits != 0 && digits != std::string::npos && name.substr(digits) == ".png";
}

}  // namespace

std::string png_frame_name(int64_t index) {
  const std::string digits = std::to_string(index);
  return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits + ".png";
}

void check_png_target(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) return;
  T2V_REQUIRE(fs::is_directory(status), ErrorKind::kOutput, "cannot write output: '",
              core::escape_control(path),
              "' is a file and .png asks for a folder of frames (--output); try another name");
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    T2V_REQUIRE(is_frame_name(name), ErrorKind::kOutput, "cannot write output: folder '",
                core::escape_control(path), "' holds something else than frames, '",
                core::escape_control(name), "' (--output); try another name");
  }
  T2V_REQUIRE(!error, ErrorKind::kOutput, "cannot write output: ", error.message(), " ('",
              core::escape_control(path), "')");
}

PngFolder::PngFolder(std::string path, bool metadata)
    : path_(std::move(path)), metadata_(metadata) {}

PngFolder::~PngFolder() { abort(); }

void PngFolder::begin(const VideoFormat& format) {
  abort();
  check_png_target(path_);
  format_ = format;
  written_ = 0;
  const std::string name = core::temporary_name_for(path_);
  T2V_REQUIRE(::mkdir(name.c_str(), 0777) == 0, ErrorKind::kOutput,
              "cannot create output: ", std::strerror(errno), " ('", core::escape_control(path_),
              "')");
  temporary_ = name;
}

void PngFolder::write(const uint8_t* rgb, int64_t num_frames) {
  T2V_ASSERT(!temporary_.empty());
  const int64_t frame_bytes = format_.width * format_.height * 3;
  for (int64_t i = 0; i < num_frames; ++i) {
    const std::string bytes =
        make_png(rgb + i * frame_bytes, static_cast<int>(format_.width),
                 static_cast<int>(format_.height), metadata_ ? format_.recipe_json : "");
    core::AtomicFile file(temporary_ + "/" + png_frame_name(written_));
    file.write(bytes.data(), bytes.size());
    file.commit();
    ++written_;
  }
}

void PngFolder::finish() {
  T2V_ASSERT(!temporary_.empty());
  check_png_target(path_);
  core::commit_file(temporary_, path_);
  temporary_.clear();
}

void PngFolder::abort() noexcept {
  core::remove_quietly(temporary_);
  temporary_.clear();
}

}  // namespace t2v::media
