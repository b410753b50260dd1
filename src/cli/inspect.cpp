// t2v inspect: a model folder, or a video with its embedded recipe.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "cli/commands.h"
#include "cli/engine_options.h"
#include "cli/parts.h"
#include "cli/recipe_command.h"
#include "cli/report.h"
#include "cli/streams.h"
#include "core/check.h"
#include "core/escape.h"
#include "media/media.h"

namespace t2v::cli {
namespace {

namespace fs = std::filesystem;
using core::str;
using Json = nlohmann::ordered_json;

// The first bytes of GGUF, of a torch archive, of safetensors.
bool starts_like_weights(const fs::path& path) {
  char start[9] = {};
  std::ifstream(path, std::ios::binary).read(start, sizeof start);
  const std::string_view bytes(start, sizeof start);
  return bytes.starts_with("GGUF") || bytes.starts_with("PK\x03\x04") ||
         (bytes[8] == '{' && bytes[7] == 0 && bytes[6] == 0);
}

// Weights are files of these kinds; a folder is a model unless it is named like frames.
bool is_model(const fs::path& path) {
  if (is_remote(path.native())) return true;
  std::error_code ignored;
  const std::string suffix = path.extension().string();
  if (fs::is_directory(path, ignored))
    return suffix != ".png" || fs::exists(path / "model_index.json", ignored);
  constexpr std::string_view kWeights[] = {".safetensors", ".gguf", ".pth", ".pt",
                                           ".ckpt",        ".bin",  ".json"};
  return std::find(std::begin(kWeights), std::end(kWeights), suffix) != std::end(kWeights) ||
         (fs::is_regular_file(path, ignored) && starts_like_weights(path));
}

Json parsed(const std::string& text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return json.is_discarded() ? Json(nullptr) : json;
}

void inspect_model(EngineOptions options, const std::string& path, bool as_json) {
  options.model_path = path;
  std::string text = show_model(options, as_json ? ReportFormat::kJson : ReportFormat::kText);
  if (!text.ends_with('\n')) text += '\n';
  write_stdout(text);
}

// "key: value" lines of an object; nested values as JSON.
std::string lines_of(const Json& object) {
  std::string text;
  for (const auto& [key, value] : object.items()) {
    const std::string shown = value.is_string()
                                  ? value.get<std::string>()
                                  : value.dump(-1, ' ', false, Json::error_handler_t::replace);
    text += str("  ", core::escape_control(key), ": ", core::escape_control(shown, 1 << 20), "\n");
  }
  return text;
}

void inspect_video(const std::string& path, const Flags& flags) {
  const media::Media& media = media::open_media();
  const std::string recipe = media.read_recipe(path);
  if (flags.has("command")) {
    write_stdout(command_of_recipe(recipe, path) + "\n");
    return;
  }
  const Json video = parsed(media.describe(path));
  if (flags.has("json")) {
    const Json json = {{"path", path}, {"video", video}, {"recipe", parsed(recipe)}};
    write_stdout(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    return;
  }
  std::string text = str(core::escape_control(path), "\n");
  text += video.is_object() ? lines_of(video) : "";
  const Json fields = parsed(recipe);
  text += fields.is_object() ? "recipe\n" + lines_of(fields) : "no recipe embedded\n";
  write_stdout(text);
}

}  // namespace

void run_inspect(const Invocation& invocation) {
  require_positionals(invocation, "PATH");
  Problems problems = invocation.problems;
  const Flags flags(invocation.settings, problems);
  if (flags.has("json") && flags.has("command")) {
    problems.add("--command: given together with --json (command line); try only one of the two");
  }
  const EngineOptions options = read_running_options(flags);
  problems.throw_if_any();
  const std::string& path = invocation.positionals.front();
  std::error_code ignored;
  T2V_REQUIRE(!path.empty() && (is_remote(path) || fs::exists(path, ignored)),
              is_model(path) ? ErrorKind::kModel : ErrorKind::kInput,
              "cannot inspect: no such file or folder (", quoted(path), ")");
  if (!is_model(path)) return inspect_video(path, flags);
  T2V_REQUIRE(!flags.has("command"), ErrorKind::kUsage, "--command: ", quoted(path),
              " is a model, expected a video (command line)");
  inspect_model(options, path, flags.has("json"));
}

}  // namespace t2v::cli
