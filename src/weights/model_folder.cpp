#include "weights/model_folder.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "core/check.h"
#include "weights/model_layout.h"
#include "weights/model_scan.h"

namespace t2v::weights {
namespace {

const char* layout_text(const std::string& layout) {
  if (layout == "wan") return "the original Wan layout";
  return layout == "comfyui" ? "a ComfyUI folder" : "a folder of single files";
}

ComponentFiles as_component(const Storage& storage, const Candidate& candidate) {
  return {.path = candidate.path,
          .config = find_config(storage, candidate.path, candidate.kind),
          .checkpoint = candidate.checkpoint};
}

using Candidates = std::vector<const Candidate*>;

Candidates of_kind(const ModelScan& scan, FileKind kind) {
  Candidates found;
  for (const Candidate& candidate : scan.candidates)
    if (candidate.checkpoint && candidate.kind == kind) found.push_back(&candidate);
  return found;
}

std::string listed(const Candidates& candidates) {
  constexpr size_t kMaxListed = 10;
  std::string text;
  for (size_t i = 0; i < std::min(candidates.size(), kMaxListed); ++i)
    text += core::str(i > 0 ? ", '" : "'", candidates[i]->path, "'");
  return candidates.size() > kMaxListed
             ? core::str(text, " and ", candidates.size() - kMaxListed, " more")
             : text;
}

// One component of a folder, as asked for on the command line.
struct Wanted {
  FileKind kind;
  const char* name;  // in messages
  const char* flag;  // that chooses
};
constexpr Wanted kText{FileKind::kTextEncoder, "text encoder", "--text-encoder"};
constexpr Wanted kVae{FileKind::kVae, "VAE", "--vae"};
constexpr Wanted kTransformer{FileKind::kTransformer, "transformer", "--transformer"};
constexpr Wanted kHigh{FileKind::kTransformer, "high-noise transformer", "--transformer"};
constexpr Wanted kLow{FileKind::kTransformer, "low-noise transformer", "--transformer-low"};

[[noreturn]] void refuse_several(const Candidates& found, const Wanted& wanted,
                                 const std::string& folder) {
  throw Error(ErrorKind::kModel,
              core::str("several candidates for the ", wanted.name, ": ", listed(found),
                        "; choose one with ", wanted.flag, " (", folder, ")"));
}

[[noreturn]] void refuse_missing(const ModelScan& scan, const Wanted& wanted,
                                 const std::string& folder) {
  // A file that cannot be read is the likely reason.
  for (const Candidate& candidate : scan.candidates) {
    T2V_REQUIRE(candidate.problem.empty(), ErrorKind::kModel,
                "incomplete model: ", layout_text(scan.layout), " without a ", wanted.name, " (",
                folder, "); one file cannot be used: ", candidate.problem);
  }
  std::string there;
  for (const Candidate& candidate : scan.candidates) {
    if (there.size() > 300) break;
    there += core::str(there.empty() ? "; there is '" : ", '", base_name(candidate.path), "' (",
                       describe(candidate.kind), ")");
  }
  T2V_REQUIRE(scan.candidates.empty() || scan.layout != "files" || scan.candidates.size() > 1,
              ErrorKind::kModel, "not a model: this looks like one component of a model", there,
              ", expected the folder above it or ", wanted.flag, " (", folder, ")");
  throw Error(ErrorKind::kModel,
              core::str(scan.candidates.empty() ? "not a model: no model_index.json and no file of "
                                                  "weights, "
                                                : "incomplete model: ",
                        layout_text(scan.layout), " without a ", wanted.name, there, " (", folder,
                        "); try ", wanted.flag));
}

const Candidate& only_one(const ModelScan& scan, const Wanted& wanted, const std::string& folder) {
  const Candidates found = of_kind(scan, wanted.kind);
  if (found.empty()) refuse_missing(scan, wanted, folder);
  if (found.size() > 1) refuse_several(found, wanted, folder);
  return *found[0];
}

// Which expert a file is; in the folders of diffusers, by their names.
NoiseLevel level_of(const Candidate& candidate) {
  const NoiseLevel level = noise_level_of(candidate.path);
  if (level != NoiseLevel::kUnsaid) return level;
  const std::string folder = base_name(parent_folder(candidate.path));
  if (folder == "transformer_2") return NoiseLevel::kLow;
  return folder == "transformer" ? NoiseLevel::kHigh : NoiseLevel::kUnsaid;
}

struct ExpertCandidates {
  const Candidate* high = nullptr;  // or the only one
  const Candidate* low = nullptr;
};

// `given`: which of the two the command line gives already.
ExpertCandidates choose_experts(const ModelScan& scan, const std::string& folder,
                                const ComponentPaths& given) {
  const bool needs_high = given.transformer.empty();
  const bool needs_low = given.transformer_low.empty();
  if (!needs_high && !needs_low) return {};
  const Candidates all = of_kind(scan, FileKind::kTransformer);
  if (all.empty() && !needs_high) return {};
  if (all.empty()) refuse_missing(scan, kTransformer, folder);
  Candidates high;
  Candidates low;
  for (const Candidate* candidate : all) {
    const NoiseLevel level = level_of(*candidate);
    if (level == NoiseLevel::kHigh) high.push_back(candidate);
    if (level == NoiseLevel::kLow) low.push_back(candidate);
  }
  if (all.size() == 1 && low.empty() &&
      (noise_level_of(all[0]->path) == NoiseLevel::kUnsaid || !needs_low))
    return needs_high ? ExpertCandidates{.high = all[0]} : ExpertCandidates{};
  if (high.empty() && low.empty()) {
    if (needs_high) refuse_several(all, kTransformer, folder);
    return {};
  }
  ExpertCandidates chosen;
  if (needs_high) {
    if (high.empty()) refuse_missing(scan, kHigh, folder);
    if (high.size() > 1) refuse_several(high, kHigh, folder);
    chosen.high = high[0];
  }
  if (needs_low && !low.empty()) {
    if (low.size() > 1) refuse_several(low, kLow, folder);
    chosen.low = low[0];
  }
  if (needs_high && needs_low && chosen.low == nullptr) refuse_missing(scan, kLow, folder);
  return chosen;
}

// The tokenizer beside the components; "" when there is none.
std::string choose_tokenizer(const ModelScan& scan, const std::string& folder) {
  if (scan.tokenizers.empty()) return "";
  T2V_REQUIRE(scan.tokenizers.size() == 1, ErrorKind::kModel,
              "several candidates for the tokenizer: '", scan.tokenizers[0], "', '",
              scan.tokenizers[1], "'; choose one with --tokenizer (", folder, ")");
  return scan.tokenizers[0];
}

std::string if_there(const Storage& storage, const std::string& path) {
  return storage.look(path) == PathKind::kAbsent ? "" : path;
}

// tokenizer_config.json beside a SentencePiece file; "".
std::string config_of_tokenizer(const Storage& storage, const std::string& path) {
  return path.empty() ? ""
                      : if_there(storage, join_path(parent_folder(path), "tokenizer_config.json"));
}

void fill_from_scan(const Storage& storage, const ModelScan& scan, const std::string& folder,
                    const ComponentPaths& given, ModelFolder& model) {
  const ExpertCandidates experts = choose_experts(scan, folder, given);
  if (experts.high != nullptr) model.transformer = as_component(storage, *experts.high);
  if (experts.low != nullptr) model.transformer_2 = as_component(storage, *experts.low);
  if (given.text_encoder.empty())
    model.text_encoder = as_component(storage, only_one(scan, kText, folder));
  if (given.vae.empty()) model.vae = as_component(storage, only_one(scan, kVae, folder));
  if (given.tokenizer.empty()) {
    model.tokenizer_model = choose_tokenizer(scan, folder);
    model.tokenizer_config = config_of_tokenizer(storage, model.tokenizer_model);
  }
  model.t2v_json = if_there(storage, join_path(folder, "t2v.json"));
}

ModelFolder open_scanned_folder(const Storage& storage, const std::string& path,
                                const ComponentPaths& given) {
  const std::vector<FolderEntry> entries = storage.list(path);
  T2V_REQUIRE(!entries.empty(), ErrorKind::kModel, "not a model: the folder is empty (", path, ")");
  const bool has_index = std::any_of(entries.begin(), entries.end(), [](const FolderEntry& entry) {
    return entry.name == "model_index.json";
  });
  T2V_REQUIRE(!has_index, ErrorKind::kModel, "broken model: the link leads nowhere (",
              join_path(path, "model_index.json"), ")");
  const ModelScan scan = scan_model(storage, path);
  ModelFolder model;
  model.path = path;
  model.layout = scan.layout;
  fill_from_scan(storage, scan, path, given, model);
  return model;
}

// The other expert's file: the same place and name, but for the word for the noise level.
bool are_counterparts(const std::string& a, const std::string& b) {
  const auto neutral = [](std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    for (const std::string word : {"high", "low"}) {
      for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at))
        text.replace(at, word.size(), 1, '*');
    }
    return text;
  };
  return neutral(a) == neutral(b);
}

// The file of a transformer, with the rest in `given` or in the folder around it.
ModelFolder open_single_file(const Storage& storage, const std::string& path,
                             const ComponentPaths& given) {
  const Candidate file = open_candidate(storage, path);
  T2V_REQUIRE(file.problem.empty(), ErrorKind::kModel, file.problem);
  T2V_REQUIRE(file.kind == FileKind::kTransformer, ErrorKind::kModel, "not a model: this file is ",
              describe(file.kind), ", expected a model folder or the file of a transformer (", path,
              ")");
  std::string folder = parent_folder(path);
  const std::string place = base_name(folder);
  if (place == "diffusion_models" || place == "unet") folder = parent_folder(folder);
  ModelScan scan = scan_model(storage, folder);
  const bool has_level = noise_level_of(path) != NoiseLevel::kUnsaid;
  std::erase_if(scan.candidates, [&](const Candidate& candidate) {
    if (candidate.kind != FileKind::kTransformer || candidate.path == path) return false;
    return !has_level || noise_level_of(candidate.path) == noise_level_of(path) ||
           !are_counterparts(candidate.path, path);
  });
  ModelFolder model;
  model.path = path;
  model.layout = "files";
  fill_from_scan(storage, scan, folder, given, model);
  return model;
}

// A component that the command line names: a file, its folder, or a model that has one.
ComponentFiles open_given(const Storage& storage, const std::string& path, const Wanted& wanted) {
  const PathKind kind = storage.look(path);
  T2V_REQUIRE(kind != PathKind::kAbsent, ErrorKind::kModel, "no such file or folder (", path,
              "); is ", wanted.flag, " right?");
  if (kind != PathKind::kFolder) {
    const Candidate file = open_candidate(storage, path);
    T2V_REQUIRE(file.problem.empty(), ErrorKind::kModel, file.problem);
    T2V_REQUIRE(file.kind == wanted.kind, ErrorKind::kModel, wanted.flag, ": this file is ",
                describe(file.kind), ", expected ", describe(wanted.kind), " (", path, ")");
    return as_component(storage, file);
  }
  if (is_diffusers_folder(storage, path)) {
    const bool is_low = std::string_view(wanted.flag) == kLow.flag;
    const char* name = wanted.kind == FileKind::kTextEncoder ? "text_encoder"
                       : wanted.kind == FileKind::kVae       ? "vae"
                       : is_low                              ? "transformer_2"
                                                             : "transformer";
    return open_given(storage, join_path(path, name), wanted);
  }
  const ModelScan scan = scan_model(storage, path);
  if (wanted.kind != FileKind::kTransformer)
    return as_component(storage, only_one(scan, wanted, path));
  const Candidates all = of_kind(scan, FileKind::kTransformer);
  if (all.size() == 1) return as_component(storage, *all[0]);
  const ExpertCandidates experts = choose_experts(scan, path, {});
  const bool wants_low = std::string_view(wanted.flag) == kLow.flag;
  return as_component(storage, wants_low ? *experts.low : *experts.high);
}

// A SentencePiece file, or a folder with one.
std::string open_given_tokenizer(const Storage& storage, const std::string& path) {
  if (storage.look(path) != PathKind::kFolder) return path;
  for (const char* place :
       {"spiece.model", "tokenizer/spiece.model", "google/umt5-xxl/spiece.model"}) {
    const std::string file = join_path(path, place);
    if (storage.look(file) != PathKind::kAbsent) return file;
  }
  throw Error(ErrorKind::kModel, core::str("--tokenizer: the folder has no 'spiece.model' (", path,
                                           "); try the path of a SentencePiece model"));
}

void open_given_components(const Storage& storage, const ComponentPaths& given,
                           ModelFolder& model) {
  if (!given.transformer.empty()) model.transformer = open_given(storage, given.transformer, kHigh);
  if (!given.transformer_low.empty())
    model.transformer_2 = open_given(storage, given.transformer_low, kLow);
  if (!given.text_encoder.empty())
    model.text_encoder = open_given(storage, given.text_encoder, kText);
  if (!given.vae.empty()) model.vae = open_given(storage, given.vae, kVae);
  if (given.tokenizer.empty()) return;
  model.tokenizer_model = open_given_tokenizer(storage, given.tokenizer);
  model.tokenizer_config =
      if_there(storage, join_path(parent_folder(model.tokenizer_model), "tokenizer_config.json"));
}

bool are_all_given(const ComponentPaths& given) {
  return !given.transformer.empty() && !given.text_encoder.empty() && !given.vae.empty();
}

}  // namespace

ModelFolder find_model(const Storage& storage, const std::string& path,
                       const ComponentPaths& components) {
  ModelFolder given;  // first: what the command line says is told before the rest is searched
  open_given_components(storage, components, given);
  if (path.empty()) {
    T2V_REQUIRE(are_all_given(components), ErrorKind::kModel,
                "no such model: its path is empty; try --model PATH");
    given.layout = "files";
    return given;
  }
  const PathKind kind = storage.look(path);
  T2V_REQUIRE(kind != PathKind::kAbsent, ErrorKind::kModel,
              "no such model: No such file or directory (", path,
              "); try --model PATH with a model folder");
  ModelFolder model;
  if (kind != PathKind::kFolder) {
    model = open_single_file(storage, path, components);
  } else if (is_diffusers_folder(storage, path)) {
    model = open_diffusers_folder(storage, path, components);
  } else {
    model = open_scanned_folder(storage, path, components);
  }
  const auto replace = [](ComponentFiles& own, ComponentFiles& other) {
    if (other) own = std::move(other);
  };
  replace(model.transformer, given.transformer);
  replace(model.transformer_2, given.transformer_2);
  replace(model.text_encoder, given.text_encoder);
  replace(model.vae, given.vae);
  if (components.tokenizer.empty()) return model;
  model.tokenizer_model = given.tokenizer_model;
  model.tokenizer_config = given.tokenizer_config;
  return model;
}

}  // namespace t2v::weights
