// Channel RMS normalisation with optional SiLU over bfloat16 rows, forward and backward, for
// training the VAE. Built into the work folder by vae.py; its twin in plain PyTorch is
// vae.norm_act_reference.
#include <cmath>
#include <cstdint>
#include <cstring>

struct NormActArgs {  // norm_act.py has its twin
  const uint16_t* x;
  const float* gamma;
  const uint16_t* dy;  // backward only
  uint16_t* out;       // y, or dx
  float* dgamma;       // backward only
  int64_t rows;
  int32_t width;
  int32_t silu;
};

namespace {

float widen(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

uint16_t narrow(float value) {  // round to nearest even; NaN is not handled
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <int C>
float read_row(const uint16_t* row, float* values) {  // returns 1 / norm
  float sum = 0;
  for (int c = 0; c < C; c++) {
    values[c] = widen(row[c]);
    sum += values[c] * values[c];
  }
  return 1.f / std::sqrt(sum > 1e-24f ? sum : 1e-24f);
}

template <int C>
void forward(const NormActArgs& args) {
  float gain[C], values[C];
  for (int c = 0; c < C; c++) gain[c] = args.gamma[c] * std::sqrt(static_cast<float>(C));
  for (int64_t row = 0; row < args.rows; row++) {
    const float inverse = read_row<C>(args.x + row * C, values);
    for (int c = 0; c < C; c++) {
      float t = values[c] * inverse * gain[c];
      if (args.silu) t = t / (1.f + std::exp(-t));
      args.out[row * C + c] = narrow(t);
    }
  }
}

template <int C>
void backward(const NormActArgs& args) {
  const float root = std::sqrt(static_cast<float>(C));
  float gain[C], values[C], grad[C], sums[C];
  for (int c = 0; c < C; c++) {
    gain[c] = args.gamma[c] * root;
    sums[c] = 0;
  }
  for (int64_t row = 0; row < args.rows; row++) {
    const float inverse = read_row<C>(args.x + row * C, values);
    float dot = 0;
    for (int c = 0; c < C; c++) {
      const float unit = values[c] * inverse;
      const float t = unit * gain[c];
      float d = widen(args.dy[row * C + c]);
      if (args.silu) {
        const float s = 1.f / (1.f + std::exp(-t));
        d *= s * (1.f + t * (1.f - s));
      }
      sums[c] += d * unit;
      grad[c] = d * gain[c];
      values[c] = unit;
      dot += grad[c] * unit;
    }
    for (int c = 0; c < C; c++)
      args.out[row * C + c] = narrow(inverse * (grad[c] - values[c] * dot));
  }
  for (int c = 0; c < C; c++) args.dgamma[c] = sums[c] * root;
}

}  // namespace

extern "C" void norm_act_forward(const NormActArgs* args) {
  switch (args->width) {
    case 8:
      return forward<8>(*args);
    case 16:
      return forward<16>(*args);
    case 32:
      return forward<32>(*args);
    case 64:
      return forward<64>(*args);
  }
}

extern "C" void norm_act_backward(const NormActArgs* args) {
  switch (args->width) {
    case 8:
      return backward<8>(*args);
    case 16:
      return backward<16>(*args);
    case 32:
      return backward<32>(*args);
    case 64:
      return backward<64>(*args);
  }
}
