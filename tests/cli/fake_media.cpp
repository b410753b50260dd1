// Media without FFmpeg, for tests of the program alone: a "video" is its recipe as text.
// T2V_FAKE=sink_fails lets finish() fail.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>

#include "core/atomic_file.h"
#include "core/check.h"
#include "media/media.h"

namespace {

using namespace t2v;

class FakeSink : public FrameSink {
 public:
  explicit FakeSink(std::string path) : path_(std::move(path)) {}
  void begin(const VideoFormat& format) override {
    text_ = "FAKE " + format.recipe_json + "\n";
    if (path_ != "-") file_.emplace(path_);
  }
  void write(const uint8_t*, int64_t) override { text_ += "frame\n"; }
  void finish() override {
    const char* wish = std::getenv("T2V_FAKE");
    T2V_REQUIRE(!wish || std::string(wish) != "sink_fails", ErrorKind::kOutput,
                "cannot write output: fake ('", path_, "')");
    if (path_ == "-") {
      std::cout << text_ << std::flush;
      return;
    }
    file_->write(text_.data(), text_.size());
    file_->commit();
  }
  void abort() noexcept override { file_.reset(); }

 private:
  std::string path_;
  std::string text_;
  std::optional<core::AtomicFile> file_;
};

// "SOURCE 8x16 3": three black frames of that size.
class FakeSource : public FrameSource {
 public:
  explicit FakeSource(const std::string& path) {
    std::ifstream file(path);
    std::string word;
    char cross = 0;
    if (std::getline(file, word) && word.starts_with("FAKE ")) {  // a video of FakeSink
      format_ = {.width = 1, .height = 1, .fps = 8};
      while (std::getline(file, word)) left_ += word == "frame" ? 1 : 0;
      return;
    }
    file.clear();
    file.seekg(0);
    T2V_REQUIRE(
        file >> word >> format_.width >> cross >> format_.height >> left_ && word == "SOURCE",
        ErrorKind::kInput, "cannot read '", path, "': fake; try another picture");
    format_.fps = left_ > 1 ? 8 : 0;
  }
  SourceFormat format() const override { return format_; }
  bool read(std::vector<uint8_t>& rgb) override {
    rgb.assign(static_cast<size_t>(format_.width * format_.height * 3), 0);
    return left_-- > 0;
  }

 private:
  SourceFormat format_;
  int64_t left_ = 0;  // frames
};

class FakeMedia : public media::Media {
 public:
  void validate(const media::SinkOptions& options, int64_t, int64_t, double) const override {
    validate(options);
  }
  void validate(const media::SinkOptions& options) const override {
    if (options.path == "-") return;
    const std::string suffix = std::filesystem::path(options.path).extension().string();
    T2V_REQUIRE(suffix == ".mp4" || suffix == ".gif", ErrorKind::kUsage, "unknown suffix: '",
                options.path, "' (--output); try .mp4");
    T2V_REQUIRE(options.codec.empty() || options.codec == "libx264", ErrorKind::kUsage,
                "unknown codec: '", options.codec, "' (--codec)");
    core::require_writable(options.path, "--output");
  }
  std::unique_ptr<FrameSink> create_sink(const media::SinkOptions& options) const override {
    return std::make_unique<FakeSink>(options.path);
  }
  std::string read_recipe(const std::string& path) const override {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    T2V_REQUIRE(line.starts_with("FAKE "), ErrorKind::kInput, "not a video ('", path, "')");
    return line.substr(5);
  }
  std::string describe(const std::string&) const override {
    return R"({"container":"fake","frames":5})";
  }
  std::unique_ptr<FrameSource> open_source(const std::string& path) const override {
    return std::make_unique<FakeSource>(path);
  }
  std::vector<media::EncoderName> encoders() const override { return {}; }
  std::string encode_picture(const std::string& suffix, const uint8_t* rgb, int64_t width,
                             int64_t height) const override {
    T2V_REQUIRE(suffix == ".png", ErrorKind::kUsage, "unknown picture format: fake (--preview)");
    return core::str("PICTURE ", width, "x", height, " ", static_cast<int>(rgb[0]));
  }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) media::Media* t2v_create_media() {
  return std::make_unique<FakeMedia>().release();
}
