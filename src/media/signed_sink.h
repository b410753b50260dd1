// Lets a writer make a hidden file and signs it into the one that was asked for.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "media/c2pa_signer.h"
#include "media/media.h"
#include "media/media_sink.h"

namespace t2v::media {

class SignedSink : public MediaSink {
 public:
  using MakeWriter = std::function<std::unique_ptr<MediaSink>(const SinkOptions&)>;

  SignedSink(SinkOptions options, MakeWriter make_writer)
      : options_(std::move(options)), make_writer_(std::move(make_writer)) {}
  ~SignedSink() override;

  void begin(const VideoFormat& format) override;
  void write(const uint8_t* rgb, int64_t num_frames) override;
  void finish() override;
  void abort() noexcept override;

 private:
  SinkOptions options_;
  MakeWriter make_writer_;
  std::unique_ptr<C2paSigning> signing_;
  std::unique_ptr<MediaSink> writer_;
  std::string unsigned_;  // hidden names; "" = none
  std::string signed_;
  std::string recipe_json_;
};

}  // namespace t2v::media
