#include "media/video_writer.h"

#include <string_view>

#include "core/check.h"
#include "core/escape.h"
#include "media/output_format.h"

namespace t2v::media {
namespace {

// Options of the muxer. mp4 and mov keep keys of our own only with use_metadata_tags.
void set_muxer_options(Dictionary& options, OutputFormat format, FrameRate rate, bool with_recipe) {
  const bool is_mov = format == OutputFormat::kMp4 || format == OutputFormat::kMov ||
                      format == OutputFormat::kStdout;
  if (!is_mov) return;
  std::string flags = format == OutputFormat::kStdout
                          ? "frag_keyframe+empty_moov+delay_moov+default_base_moof"
                          : "faststart";
  if (with_recipe) flags += "+use_metadata_tags";
  options.set("movflags", flags);
  // Durations in whole ticks of the frame rate instead of milliseconds.
  options.set("movie_timescale", core::str(rate.num));
}

}  // namespace

VideoWriter::~VideoWriter() { abort(); }

void VideoWriter::begin(const VideoFormat& format) {
  format_ = format;
  written_ = 0;
  const FrameRate rate = frame_rate_of(format.fps);
  const EncoderPlan plan = plan_encoder(options_, format.width % 2 != 0, format.height % 2 != 0);
  encoder_ = std::make_unique<VideoEncoder>(
      plan, VideoEncoder::Settings{.width = static_cast<int>(format.width),
                                   .height = static_cast<int>(format.height),
                                   .rate = rate,
                                   .describe_itself = options_.metadata});
  output_ = std::make_unique<AvOutput>(options_.path);
  open_muxer(plan, rate, options_.metadata ? format.recipe_json : "");
}

void VideoWriter::open_muxer(const EncoderPlan& plan, FrameRate rate,
                             const std::string& recipe_json) {
  AVFormatContext* made = nullptr;
  require(avformat_alloc_output_context2(&made, plan.container, nullptr, output_->url().c_str()),
          "start");
  muxer_.reset(made);
  made->pb = output_->context();
  // No random ids, no dates, no versions: the same frames give the same bytes.
  made->flags |= AVFMT_FLAG_CUSTOM_IO | AVFMT_FLAG_BITEXACT;
  stream_ = avformat_new_stream(made, nullptr);
  T2V_REQUIRE(stream_, ErrorKind::kOutOfMemory, "not enough memory for the video file");
  require(avcodec_parameters_copy(stream_->codecpar, &encoder_->parameters()), "start");
  stream_->codecpar->codec_tag = 0;
  const bool is_mov = std::string_view(plan.container->name) == "mp4" ||
                      std::string_view(plan.container->name) == "mov";
  if (is_mov && stream_->codecpar->codec_id == AV_CODEC_ID_HEVC)
    stream_->codecpar->codec_tag = MKTAG('h', 'v', 'c', '1');  // players of Apple know no other
  stream_->time_base = encoder_->time_base();
  stream_->avg_frame_rate = {rate.num, rate.den};
  stream_->r_frame_rate = {rate.num, rate.den};
  stream_->sample_aspect_ratio = {1, 1};
  if (!recipe_json.empty()) av_dict_set(&made->metadata, "t2v", recipe_json.c_str(), 0);
  Dictionary options;
  set_muxer_options(options, output_format_of(options_.path), rate, !recipe_json.empty());
  forget_av_log();
  require(avformat_write_header(made, options.address()), "start");
}

void VideoWriter::write(const uint8_t* rgb, int64_t num_frames) {
  T2V_ASSERT(muxer_ && num_frames >= 0);
  for (int64_t i = 0; i < num_frames; ++i) {
    encoder_->encode(rgb + i * format_.width * format_.height * 3,
                     [this](AVPacket& packet) { mux(packet); });
    ++written_;
  }
}

void VideoWriter::mux(AVPacket& packet) {
  av_packet_rescale_ts(&packet, encoder_->time_base(), stream_->time_base);
  packet.stream_index = stream_->index;
  forget_av_log();
  require(av_interleaved_write_frame(muxer_.get(), &packet), "write");
}

void VideoWriter::finish() {
  T2V_ASSERT(muxer_);
  T2V_REQUIRE(written_ > 0, ErrorKind::kOutput, "cannot finish output: no frame was written ('",
              core::escape_control(options_.path), "')");
  encoder_->flush([this](AVPacket& packet) { mux(packet); });
  forget_av_log();
  require(av_write_trailer(muxer_.get()), "finish");
  require(muxer_->pb->error, "finish");
  output_->commit();
  muxer_.reset();
  output_.reset();
  encoder_.reset();
}

void VideoWriter::abort() noexcept {
  muxer_.reset();
  output_.reset();
  encoder_.reset();
}

void VideoWriter::interrupt() noexcept {
  if (output_) output_->interrupt();
}

void VideoWriter::require(int code, const char* what) const {
  output_->check();  // our own reason (disk full, ...) says more than libav's
  if (code >= 0) return;
  throw Error(code == AVERROR(ENOMEM) ? ErrorKind::kOutOfMemory : ErrorKind::kOutput,
              core::str("cannot ", what, " output: ", av_reason(code), " ('",
                        core::escape_control(options_.path), "')"));
}

}  // namespace t2v::media
