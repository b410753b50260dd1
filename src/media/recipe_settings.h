// The recipe as a file carries it: the engine's, and those output flags that are not the defaults.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "media/media.h"
#include "media/sink_layer.h"

namespace t2v::media {

// recipe_json: one JSON object or "", which stays "". Keys are the long flags with underscores.
std::string with_output_settings(const std::string& recipe_json, const SinkOptions& options);

class RecipeSink : public SinkLayer {
 public:
  RecipeSink(std::unique_ptr<MediaSink> inner, SinkOptions options)
      : SinkLayer(std::move(inner)), options_(std::move(options)) {}

  void begin(const VideoFormat& format) override {
    VideoFormat more = format;
    more.recipe_json = with_output_settings(format.recipe_json, options_);
    SinkLayer::begin(more);
  }

 private:
  SinkOptions options_;
};

}  // namespace t2v::media
