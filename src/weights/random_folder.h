// A model folder that lies nowhere: files of tensors whose numbers are random and made when they
// are read. For measurements of models of any size without their files.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "weights/storage.h"
#include "weights/weight_map.h"

namespace t2v::weights {

struct RandomFile {
  std::string name;                     // base name: "vae.safetensors"
  std::vector<ExpectedTensor> tensors;  // names as they stand in the file
  c10::ScalarType dtype = c10::kBFloat16;
};

// Paths of random folders start so; they reach no disk.
inline constexpr const char* kRandomScheme = "random:";

// A storage with one folder, `folder` (kRandomScheme + name), of these files; all other paths go to
// `others`. Norms are near 1, biases small, the rows of weights of length about 1, so that
// activations stay finite. The same names, shapes and types give the same bytes, whatever is read
// in which order.
std::shared_ptr<const Storage> make_random_folder(const std::string& folder,
                                                  const std::vector<RandomFile>& files,
                                                  std::shared_ptr<const Storage> others);

}  // namespace t2v::weights
