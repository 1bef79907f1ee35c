// y = a * x + y on the GPU, for callers that hand in memory of their own.
#include <cuda_runtime.h>

namespace {
// Names of an anonymous namespace are where nvcc would put the names of its temporary files.
__global__ void saxpy_kernel(int count, float a, const float *x, float *y) {
  const int index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index < count) y[index] = a * x[index] + y[index];
}
} // namespace

extern "C" int saxpy(int count, float a, const float *x, float *y) {
  float *on_device[2];
  const size_t size = count * sizeof(float);
  for (float *&pointer : on_device)
    if (cudaError_t error = cudaMalloc(&pointer, size)) return error;
  cudaMemcpy(on_device[0], x, size, cudaMemcpyHostToDevice);
  cudaMemcpy(on_device[1], y, size, cudaMemcpyHostToDevice);
  saxpy_kernel<<<(count + 127) / 128, 128>>>(count, a, on_device[0], on_device[1]);
  cudaMemcpy(y, on_device[1], size, cudaMemcpyDeviceToHost);
  for (float *pointer : on_device) cudaFree(pointer);
  return cudaGetLastError();
}
