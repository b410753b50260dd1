#include "cli/recipe_command.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/options.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;
using Json = nlohmann::ordered_json;

// Flags of `generate` that a recipe may set; nothing else of a file gets into a command line.
constexpr std::string_view kRecipeFlags[] = {"model",
                                             "prompt",
                                             "negative-prompt",
                                             "size",
                                             "width",
                                             "height",
                                             "frames",
                                             "fps",
                                             "steps",
                                             "solver",
                                             "shift",
                                             "sigma-table",
                                             "guidance-scale",
                                             "guidance-scale-high",
                                             "guidance-scale-low",
                                             "boundary",
                                             "seed",
                                             "latents",
                                             "preset",
                                             "dtype"};

// The shipped model is the default and has no path that holds on every machine.
bool is_shipped_model(const std::string& name) {
  return name == std::filesystem::path(shipped_model()).filename().string();
}

}  // namespace

std::string shell_quoted(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') ||
           std::string_view("_-./:,+@%").find(letter) != std::string_view::npos;
  });
  if (plain) return text;
  std::string out = "'";
  for (const char letter : text)
    out += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  return out + "'";
}

std::string command_of_recipe(const std::string& recipe_json, const std::string& path) {
  const Json recipe = Json::parse(recipe_json, nullptr, /*allow_exceptions=*/false);
  T2V_REQUIRE(recipe.is_object() && recipe.contains("prompt"), ErrorKind::kInput,
              "cannot make a command: the video carries no recipe of t2v (", quoted(path), ")");
  std::string command = "t2v generate";
  for (const auto& [key, value] : recipe.items()) {
    const Flag* flag = find_flag(key);
    const bool known = flag && std::find(std::begin(kRecipeFlags), std::end(kRecipeFlags),
                                         flag->name) != std::end(kRecipeFlags);
    if (!known || !(value.is_string() || value.is_number())) continue;
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    if (flag->name == "model" && is_shipped_model(text)) continue;
    command += str(" --", flag->name, " ", shell_quoted(text));
  }
  return command + " -o " + shell_quoted(std::filesystem::path(path).filename().string());
}

}  // namespace t2v::cli
