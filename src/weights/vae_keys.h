// Names of the native VAE files (Wan2.1_VAE.pth, Wan2.2_VAE.pth) <-> those of diffusers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace t2v::weights {

struct NativeVaeShape {
  int64_t flat_resnets = 3;    // residual blocks between two up-sampling layers (VAE 2.1)
  bool nested_blocks = false;  // layers are grouped by block (VAE 2.2)
};

// From the names of a whole file.
NativeVaeShape native_vae_shape(const std::vector<std::string>& names);

// Whether the name is one that only native files have.
bool is_native_vae_name(std::string_view name) noexcept;

// Unknown names come back unchanged.
std::string vae_to_framework(std::string_view native, const NativeVaeShape& shape);
std::string vae_to_native(std::string_view framework, const NativeVaeShape& shape);

}  // namespace t2v::weights
