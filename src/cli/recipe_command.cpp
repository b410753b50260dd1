#include "cli/recipe_command.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/lora_option.h"
#include "cli/options.h"
#include "core/check.h"

namespace t2v::cli {
namespace {

using core::str;
using Json = nlohmann::ordered_json;

// The shipped model is the default and has no path that holds on every machine.
bool is_shipped_model(const std::string& name) {
  return name == std::filesystem::path(shipped_model()).filename().string();
}

// " --lora FILE@high:0.8" for each; whatever has another form is left out.
std::string lora_flags(const Json& loras) {
  std::string flags;
  for (const Json& lora : loras) {
    if (!lora.is_object() || !lora.contains("file") || !lora["file"].is_string()) continue;
    LoraOption option{.path = lora["file"].get<std::string>(), .expert = {}, .strength = 1.0};
    if (lora.contains("strength") && lora["strength"].is_number())
      option.strength = lora["strength"].get<double>();
    const Json expert = lora.value("expert", Json());
    if (expert == "high" || expert == "low") option.expert = expert.get<std::string>();
    flags += " --lora " + shell_quoted(lora_text(option));
  }
  return flags;
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
    if (key == "loras") command += lora_flags(value);
    const Flag* flag = find_flag(key, kGenerate);
    // Nothing else of a file gets into a command line.
    if (!flag || (flag->places & kRecipe) == 0) continue;
    for (const Json& item : value.is_array() ? value : Json()) {  // of a flag that is repeated
      if (item.is_string())
        command += str(" --", flag->name, " ", shell_quoted(item.get<std::string>()));
    }
    if (!(value.is_string() || value.is_number())) continue;
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    if (flag->name == "model" && is_shipped_model(text)) continue;
    command += str(" --", flag->name, " ", shell_quoted(text));
  }
  return command + " -o " + shell_quoted(std::filesystem::path(path).filename().string());
}

}  // namespace t2v::cli
