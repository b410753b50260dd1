#include "media/signed_sink.h"

#include "core/atomic_file.h"
#include "core/check.h"

namespace t2v::media {

SignedSink::~SignedSink() { abort(); }

void SignedSink::begin(const VideoFormat& format) {
  abort();
  signing_ = std::make_unique<C2paSigning>(options_);
  unsigned_ = core::temporary_name_for(options_.path);
  SinkOptions options = options_;
  options.path = unsigned_;
  writer_ = make_writer_(options);
  recipe_json_ = options_.metadata ? format.recipe_json : "";
  writer_->begin(format);
}

void SignedSink::write(const uint8_t* rgb, int64_t num_frames) {
  T2V_ASSERT(writer_);
  writer_->write(rgb, num_frames);
}

void SignedSink::finish() {
  T2V_ASSERT(writer_);
  writer_->finish();
  signed_ = core::temporary_name_for(options_.path);
  signing_->sign_file(unsigned_, signed_, recipe_json_);
  core::commit_file(signed_, options_.path);
  signed_.clear();
  abort();
}

void SignedSink::abort() noexcept {
  if (writer_) writer_->abort();
  writer_.reset();
  signing_.reset();
  for (std::string* name : {&unsigned_, &signed_}) {
    if (!name->empty()) core::remove_quietly(*name);
    name->clear();
  }
}

}  // namespace t2v::media
