// Scaled dot-product attention over whole sequences: the back ends, by name, and the choice.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace t2v::ops {

// kAuto: what the table in attention_choice.cpp (CUDA) or the processor (CPU) says. kFlash:
// LibTorch's flash attention. kOwn: ours (CUDA: 16-bit, head size 64 or 128; CPU: bf16 with
// AVX512-BF16). kOwnInt8: ours with q and k in int8 (CUDA: v 16-bit, head size 64 or 128; CPU: any,
// composed, slow: for checking quality; so is T2V_BACKEND=reference on CUDA). kCudnn: cuDNN's, CUDA
// only. kReference: composed of plain operations in fp32.
enum class AttentionBackend { kAuto, kCudnn, kFlash, kOwn, kOwnInt8, kReference };

// "auto", "cudnn", "flash", "own", "own-int8", "reference"; nullopt for any other name.
std::optional<AttentionBackend> attention_backend(std::string_view name);
const char* attention_name(AttentionBackend backend);

// Throws Error{kDevice} with the reason and what to try when the back end cannot run sequences of
// this type and head size here. For CUDA the plugin must be loaded.
void require_attention(AttentionBackend backend, at::Device device, at::ScalarType dtype,
                       int64_t head_size);

// softmax(q * k^T / sqrt(D) + key_bias) * v for each head. q [N, L, D], rows contiguous; k, v
// [N, S, D]; key_bias fp32 [S] or undefined. Returns [L, N*D] in q's type. Softmax and sums in
// fp32. Throws Error{kDevice} when the named back end cannot run here.
//
// With a key_bias on CUDA (cross-attention) neither cuDNN nor flash is asked, because they take no
// bias per key: kOwn runs where it can (16-bit, head size 64 or 128, and T2V_BACKEND is not
// reference), the composed form elsewhere, and kReference stays kReference. kOwnInt8 with a
// key_bias is kOwn on CUDA and kAuto on the CPU: cross-attention is short.
//
// k and v may be prefixes of longer sequences (a head stride above S*D): nothing is copied.
//
// Tensors that are moved in go as soon as the kernel has them, before a result in the order
// [N, L, D] (cuDNN's and flash's) is copied to ours: no more than four of their size at a time.
at::Tensor attention(at::Tensor q, at::Tensor k, at::Tensor v, const at::Tensor& key_bias = {},
                     AttentionBackend backend = AttentionBackend::kAuto);

}  // namespace t2v::ops
