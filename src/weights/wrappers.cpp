#include "weights/wrappers.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace t2v::weights {
namespace {

// In the order of preference.
constexpr std::array<std::string_view, 2> kWrappers{"generator_ema", "generator"};

// The wrapper that a name begins with; "".
std::string_view wrapper_of(std::string_view name) {
  for (const std::string_view wrapper : kWrappers) {
    if (name.starts_with(wrapper) && name.substr(wrapper.size()).starts_with('.')) return wrapper;
  }
  return "";
}

}  // namespace

void unwrap(ContainerHeader& header) {
  std::vector<TensorEntry>& tensors = header.tensors;
  const auto has = [&](std::string_view wrapper) {
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](const TensorEntry& t) { return wrapper_of(t.name) == wrapper; });
  };
  if (tensors.empty() || has("")) return;
  const std::string_view chosen = has(kWrappers[0]) ? kWrappers[0] : kWrappers[1];
  std::erase_if(tensors, [&](const TensorEntry& t) { return wrapper_of(t.name) != chosen; });
  // One prefix off all: they stay sorted and unlike each other.
  for (TensorEntry& tensor : tensors) tensor.name.erase(0, chosen.size() + 1);
  header.metadata[kWrapperKey] = chosen;
}

}  // namespace t2v::weights
