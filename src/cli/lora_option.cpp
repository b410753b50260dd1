#include "cli/lora_option.h"

#include <algorithm>
#include <array>

#include "cli/numbers.h"
#include "cli/report.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

// Whether a piece behind ':' or '@' is the rest of a path rather than a mistyped weight or expert.
bool is_path_end(std::string_view piece) {
  constexpr std::array<std::string_view, 6> kSuffixes = {".safetensors", ".pth", ".pt",
                                                         ".gguf",        ".bin", ".ckpt"};
  return piece.find('/') != std::string_view::npos ||
         std::any_of(kSuffixes.begin(), kSuffixes.end(),
                     [&](std::string_view suffix) { return piece.ends_with(suffix); });
}

// Cuts text at the last `mark` and returns what stood behind it; nothing when there is none or when
// it belongs to the path.
std::optional<std::string_view> cut_at(char mark, std::string_view& text) {
  const size_t at = text.rfind(mark);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view piece = text.substr(at + 1);
  if (is_path_end(piece)) return std::nullopt;
  text = text.substr(0, at);
  return piece;
}

}  // namespace

std::optional<LoraOption> parse_lora(std::string_view text, const std::string& expert,
                                     std::string& why) {
  LoraOption lora{.path = {}, .expert = expert, .strength = 1.0};
  if (const auto weight = cut_at(':', text)) {
    const auto strength = parse_finite(*weight);
    if (!strength) {
      why =
          core::str("has no number behind ':', expected FILE", expert.empty() ? "[@high|low]" : "",
                    "[:weight] such as style.safetensors:0.8");
      return std::nullopt;
    }
    lora.strength = *strength;
  }
  if (const auto name = cut_at('@', text)) {
    if ((*name != "high" && *name != "low") || (!expert.empty() && *name != expert)) {
      why = expert.empty() ? "names no expert behind '@', expected FILE[@high|low][:weight]"
                           : core::str("is for the ", expert, "-noise expert only, expected ",
                                       "FILE[:weight]");
      return std::nullopt;
    }
    lora.expert = *name;
  }
  if (text.empty()) {
    why = "has no file, expected FILE[@high|low][:weight]";
    return std::nullopt;
  }
  lora.path = text;
  return lora;
}

std::string lora_text(const LoraOption& lora) {
  return core::str(lora.path, lora.expert.empty() ? "" : "@", lora.expert,
                   lora.strength == 1.0 && lora.path.find(':') == std::string::npos
                       ? ""
                       : ":" + number_text(lora.strength));
}

}  // namespace t2v::cli
