// The bytes of a video come from its frames and settings alone, not from what the heap held before.
#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

#include <catch2/catch.hpp>

#include "media/test_clips.h"

extern "C" {
#include <libavcodec/avcodec.h>
}

namespace t2v::media {
namespace {

using namespace test;

// From now on fresh memory is full of bytes that go by `value`, 0 to 255; 0 leaves it as it is.
// False where the C library cannot do that (address sanitizer, other libraries than glibc).
bool fill_fresh_memory([[maybe_unused]] int value) {
#ifdef M_PERTURB
  return ::mallopt(M_PERTURB, value) != 0;
#else
  return false;
#endif
}

bool can_fill() {
  const bool can = fill_fresh_memory(0);
  if (!can) WARN("this C library cannot fill fresh memory: not run");
  return can;
}

struct CleanHeap {
  CleanHeap() = default;
  CleanHeap(const CleanHeap&) = delete;
  CleanHeap& operator=(const CleanHeap&) = delete;
  ~CleanHeap() { fill_fresh_memory(0); }
};

// A still picture of 8x8 patches with a little noise, of which each frame shows another part:
// blocks that follow it point beyond the edges.
Clip panorama(int width, int height, int frames) {
  Clip clip{.width = width, .height = height, .frames = frames, .rgb = {}};
  const Clip grains = noise(width, height, frames);
  const int columns = width / 8 + frames + 1;
  const Clip patches = noise(columns, height / 8 + frames + 1, 1);
  for (size_t at = 0; at < grains.rgb.size(); ++at) {
    const int pixel = static_cast<int>(at / 3);
    const int x = pixel % width, y = pixel / width % height, frame = pixel / width / height;
    const int patch = (y + 3 * frame) / 8 * columns + (x + 2 * frame) / 8;
    const int level = patches.rgb[static_cast<size_t>(patch) * 3] / 2 + grains.rgb[at] / 32;
    clip.rgb.push_back(static_cast<uint8_t>(level));
  }
  return clip;
}

void check_same_bytes(const Clip& clip, const std::string& codec, const std::vector<int>& values) {
  CAPTURE(clip.width, clip.height, codec);
  const TempFolder folder;
  const SinkOptions options{.path = folder / "a.mkv", .codec = codec};
  const CleanHeap restored;
  write_clip(clip, options);
  const std::string expected = read_all(options.path);
  for (const int value : values) {
    CAPTURE(value);
    fill_fresh_memory(value);
    write_clip(clip, options);
    const bool same = read_all(options.path) == expected;  // the bytes themselves are not printed
    CHECK(same);
  }
}

// Fails with x264's AVX-512 code, which reads beyond rows of blocks that are no multiple of eight.
TEST_CASE("H.264: the same bytes whatever the heap held") {
  if (!can_fill()) return;
  const std::vector<int> values{255, 1, 64, 85, 127, 128, 170, 191, 254, 2};
  check_same_bytes(panorama(64, 64, 17), "libx264", values);
  check_same_bytes(panorama(208, 112, 17), "libx264", values);
  check_same_bytes(panorama(97, 55, 9), "libx264", values);
}

// Fails with x265's largest block in pictures as wide or high as it.
TEST_CASE("H.265: the same bytes whatever the heap held") {
  if (!can_fill() || !avcodec_find_encoder_by_name("libx265")) return;
  const std::vector<int> values{255, 64, 128, 200};
  for (const int side : {16, 32, 48, 64}) {
    check_same_bytes(panorama(side, 64, 9), "libx265", values);
    check_same_bytes(panorama(160, side, 9), "libx265", values);
  }
  check_same_bytes(panorama(32, 32, 9), "libx265", values);
}

// x265's lookahead wrote past its memory here, and the C library ended the process.
TEST_CASE("H.265 of ten bits in narrow pictures") {
  if (!avcodec_find_encoder_by_name("libx265")) return;
  const TempFolder folder;
  for (const int width : {16, 32, 48}) {
    CAPTURE(width);
    const SinkOptions options{
        .path = folder / "a.mkv", .codec = "libx265", .pix_fmt = "yuv420p10le"};
    write_clip(panorama(width, 48, 9), options);
    CHECK(!read_all(options.path).empty());
  }
}

TEST_CASE("each codec: the same bytes whatever the heap held") {
  if (!can_fill()) return;
  for (const std::string codec : {"libx265", "libvpx-vp9", "libsvtav1", "libaom-av1", "ffv1"}) {
    if (avcodec_find_encoder_by_name(codec.c_str()))
      check_same_bytes(panorama(96, 64, 5), codec, {255, 64, 128});
  }
}

}  // namespace
}  // namespace t2v::media
