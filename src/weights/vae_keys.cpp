#include "weights/vae_keys.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <span>

#include "core/check.h"

namespace t2v::weights {
namespace {

struct NamePair {
  std::string_view native;
  std::string_view framework;
};

constexpr std::array kTop{
    NamePair{"conv1.", "quant_conv."},
    NamePair{"conv2.", "post_quant_conv."},
};
// Behind "encoder." or "decoder.".
constexpr std::array kHalf{
    NamePair{"conv1.", "conv_in."},
    NamePair{"head.0.", "norm_out."},
    NamePair{"head.2.", "conv_out."},
    NamePair{"middle.0.", "mid_block.resnets.0."},
    NamePair{"middle.1.", "mid_block.attentions.0."},
    NamePair{"middle.2.", "mid_block.resnets.1."},
};
// Inside a residual block.
constexpr std::array kResidual{
    NamePair{"residual.0.", "norm1."},       NamePair{"residual.2.", "conv1."},
    NamePair{"residual.3.", "norm2."},       NamePair{"residual.6.", "conv2."},
    NamePair{"shortcut.", "conv_shortcut."},
};

enum class Direction { kToFramework, kToNative };

// `name` with its start replaced by the other side of a pair; nullopt when none starts it.
std::optional<std::string> replace_start(std::string_view name, std::span<const NamePair> pairs,
                                         Direction direction) {
  for (const NamePair& pair : pairs) {
    const bool forward = direction == Direction::kToFramework;
    const std::string_view from = forward ? pair.native : pair.framework;
    if (!name.starts_with(from)) continue;
    return std::string(forward ? pair.framework : pair.native).append(name.substr(from.size()));
  }
  return std::nullopt;
}

// Removes `word` from the start.
bool take(std::string_view& name, std::string_view word) {
  if (!name.starts_with(word)) return false;
  name.remove_prefix(word.size());
  return true;
}

// Removes "<number>." from the start.
std::optional<int64_t> take_index(std::string_view& name) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), value);
  const auto digits = static_cast<size_t>(end - name.data());
  if (error != std::errc() || value < 0 || digits >= name.size() || name[digits] != '.' ||
      digits > 6 || (digits > 1 && name[0] == '0'))
    return std::nullopt;
  name.remove_prefix(digits + 1);
  return value;
}

bool is_resampler(std::string_view inner) {
  return inner.starts_with("resample.") || inner.starts_with("time_conv.");
}

std::string residual(std::string_view inner, Direction direction) {
  return replace_start(inner, kResidual, direction).value_or(std::string(inner));
}

// Layers of one half: "downsamples.3.residual.2.weight" and its like; nullopt when it is none.
std::optional<std::string> layer_to_framework(std::string_view rest, const NativeVaeShape& shape) {
  const bool down = rest.starts_with("downsamples.");
  if (!down && !rest.starts_with("upsamples.")) return std::nullopt;
  const std::string_view list = down ? "downsamples." : "upsamples.";
  take(rest, list);
  const auto index = take_index(rest);
  if (!index) return std::nullopt;
  const std::string block = down ? "down_blocks." : "up_blocks.";
  if (take(rest, list)) {  // VAE 2.2: a list inside a block
    const auto layer = take_index(rest);
    if (!layer) return std::nullopt;
    if (is_resampler(rest))
      return core::str(block, *index, down ? ".downsampler." : ".upsampler.", rest);
    return core::str(block, *index, ".resnets.", *layer, ".",
                     residual(rest, Direction::kToFramework));
  }
  if (down) return core::str(block, *index, ".", residual(rest, Direction::kToFramework));
  const int64_t group = shape.flat_resnets + 1;
  if (is_resampler(rest)) return core::str(block, *index / group, ".upsamplers.0.", rest);
  return core::str(block, *index / group, ".resnets.", *index % group, ".",
                   residual(rest, Direction::kToFramework));
}

std::optional<std::string> layer_to_native(std::string_view rest, const NativeVaeShape& shape) {
  const bool down = rest.starts_with("down_blocks.");
  if (!down && !rest.starts_with("up_blocks.")) return std::nullopt;
  take(rest, down ? "down_blocks." : "up_blocks.");
  const std::string list = down ? "downsamples." : "upsamples.";
  const auto block = take_index(rest);
  if (!block) return std::nullopt;
  const int64_t group = shape.flat_resnets + 1;
  if (take(rest, "upsamplers.0."))
    return core::str(list, *block * group + shape.flat_resnets, ".", rest);
  if (take(rest, down ? "downsampler." : "upsampler.")) {
    const int64_t layer = down ? shape.flat_resnets - 1 : shape.flat_resnets;
    return core::str(list, *block, ".", list, layer, ".", rest);
  }
  if (take(rest, "resnets.")) {
    const auto layer = take_index(rest);
    if (!layer) return std::nullopt;
    const std::string inner = residual(rest, Direction::kToNative);
    if (shape.nested_blocks) return core::str(list, *block, ".", list, *layer, ".", inner);
    return core::str(list, *block * group + *layer, ".", inner);
  }
  return core::str(list, *block, ".", residual(rest, Direction::kToNative));
}

std::string translate(std::string_view name, const NativeVaeShape& shape, Direction direction) {
  for (const std::string_view half : {"encoder.", "decoder."}) {
    if (!name.starts_with(half)) continue;
    const std::string_view rest = name.substr(half.size());
    if (const auto layer = direction == Direction::kToFramework ? layer_to_framework(rest, shape)
                                                                : layer_to_native(rest, shape))
      return std::string(half) + *layer;
    if (const auto part = replace_start(rest, kHalf, direction)) {
      // Of the middle, two are residual blocks.
      for (const std::string_view start :
           {"mid_block.resnets.0.", "mid_block.resnets.1.", "middle.0.", "middle.2."}) {
        std::string_view inner = *part;
        if (take(inner, start))
          return std::string(half).append(start).append(residual(inner, direction));
      }
      return std::string(half) + *part;
    }
    return std::string(name);
  }
  return replace_start(name, kTop, direction).value_or(std::string(name));
}

}  // namespace

bool is_native_vae_name(std::string_view name) noexcept {
  for (const std::string_view half : {"encoder.", "decoder."}) {
    std::string_view rest = name;
    if (!take(rest, half)) continue;
    return rest.starts_with("conv1.") || rest.starts_with("middle.") || rest.starts_with("head.") ||
           rest.starts_with("downsamples.") || rest.starts_with("upsamples.");
  }
  return false;
}

NativeVaeShape native_vae_shape(const std::vector<std::string>& names) {
  NativeVaeShape shape;
  std::optional<int64_t> first;
  for (const std::string& name : names) {
    std::string_view rest = name;
    if (!take(rest, "decoder.upsamples.")) continue;
    const auto index = take_index(rest);
    if (!index) continue;
    if (take(rest, "upsamples.")) {
      shape.nested_blocks = true;
      const auto layer = take_index(rest);
      if (!layer || !is_resampler(rest)) continue;
      first = std::min(first.value_or(*layer), *layer);
    } else if (is_resampler(rest)) {
      first = std::min(first.value_or(*index), *index);
    }
  }
  if (first && *first > 0) shape.flat_resnets = *first;
  return shape;
}

std::string vae_to_framework(std::string_view native, const NativeVaeShape& shape) {
  return translate(native, shape, Direction::kToFramework);
}

std::string vae_to_native(std::string_view framework, const NativeVaeShape& shape) {
  return translate(framework, shape, Direction::kToNative);
}

}  // namespace t2v::weights
