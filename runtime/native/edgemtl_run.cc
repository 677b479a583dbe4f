// Runs tasks of an extracted bundle on a device without Python.
//
//   edgemtl_run FOLDER INPUT.npy OUTPUT_FOLDER REPEAT TASK...
//
// FOLDER is written by edgemtl.bundle.extract_program, which checks every byte; nothing is checked again here, so it
// belongs where only trusted users write. The tasks run REPEAT times on one float32 image, their common beginning
// once each time; OUTPUT_FOLDER/TASK.npy is the last answer. Prints the milliseconds of each round.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/tvm_ffi.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace ffi = tvm::ffi;

namespace {

constexpr size_t kAlignment = 64;
constexpr int kAllSteps = 0x7fffffff;

struct Task {
  std::string entry, prepare;
  int steps = 0;
  std::vector<int64_t> shape;

  size_t bytes() const {
    size_t count = sizeof(float);
    for (int64_t extent : shape) count *= static_cast<size_t>(extent);
    return count;
  }
};

// program.txt: "arena BYTES", "prepared BYTES", "weights BYTES", "image BYTES", "prefix STEPS" and, per task,
// "task NAME ENTRY PREPARE|- STEPS EXTENT..."
struct Program {
  std::map<std::string, size_t> numbers;
  std::map<std::string, Task> tasks;

  size_t number(const std::string& name) const {
    auto found = numbers.find(name);
    if (found == numbers.end()) throw std::runtime_error("program.txt must have a line '" + name + "'");
    return found->second;
  }

  const Task& task(const std::string& name) const {
    auto found = tasks.find(name);
    if (found == tasks.end()) throw std::runtime_error("there is no task '" + name + "' in program.txt");
    return found->second;
  }
};

Program ReadProgram(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + " must be there; extract the bundle again");
  Program program;
  for (std::string line, key; std::getline(file, line);) {
    std::istringstream words(line);
    words >> key;
    if (key != "task") {
      words >> program.numbers[key];
      continue;
    }
    Task task;
    std::string name;
    words >> name >> task.entry >> task.prepare >> task.steps;
    for (int64_t extent; words >> extent;) task.shape.push_back(extent);
    program.tasks[name] = task;
  }
  return program;
}

// Zero bytes are a space of one byte: an unused space still has its place.
class Space {
 public:
  explicit Space(size_t size) : Space(size, std::aligned_alloc(kAlignment, Rounded(size))) {
    if (data_ == nullptr) throw std::runtime_error("no memory for " + std::to_string(size) + " bytes");
    std::memset(data_, 0, Rounded(size));
  }
  Space(size_t size, void* data) : data_(data), extent_(size > 0 ? static_cast<int64_t>(size) : 1) {
    tensor_ = DLTensor{data_, {kDLCPU, 0}, 1, {kDLUInt, 8, 1}, &extent_, &stride_, 0};
  }
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;

  void* data() const { return data_; }
  DLTensor* tensor() { return &tensor_; }

 private:
  static size_t Rounded(size_t size) { return (size / kAlignment + 1) * kAlignment; }

  void* data_;
  int64_t extent_, stride_ = 1;
  DLTensor tensor_;
};

void* MapWeights(const std::string& path, size_t size) {
  if (size == 0) return std::aligned_alloc(kAlignment, kAlignment);
  int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0 || static_cast<size_t>(status.st_size) != size) {
    throw std::runtime_error(path + " must be a file of " + std::to_string(size) + " bytes; extract the bundle again");
  }
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  close(file);
  if (data == MAP_FAILED) throw std::runtime_error(path + " cannot be mapped");
  return data;
}

// A float32 C-order .npy file of exactly `size` bytes of data; its shape was checked by whoever wrote it.
void ReadNpy(const std::string& path, void* data, size_t size) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  const std::string content = text.str();
  const size_t start = content.size() < 10 ? 0 : 10 + static_cast<uint8_t>(content[8]) + 256 * static_cast<uint8_t>(content[9]);
  const std::string header = content.substr(0, start);
  if (start == 0 || content.size() != start + size || header.find("'<f4'") == std::string::npos ||
      header.find("'fortran_order': False") == std::string::npos) {
    throw std::runtime_error(path + " must be a float32 .npy file of " + std::to_string(size) + " bytes of data");
  }
  std::memcpy(data, content.data() + start, size);
}

void WriteNpy(const std::string& path, const void* data, const Task& task) {
  std::string shape;
  for (int64_t extent : task.shape) shape += std::to_string(extent) + ", ";
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.append(63 - (10 + header.size()) % 64, ' ').push_back('\n');
  const uint8_t magic[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, static_cast<uint8_t>(header.size() % 256),
                             static_cast<uint8_t>(header.size() / 256)};
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(magic), sizeof(magic)) << header;
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(task.bytes()));
  if (!file.flush()) throw std::runtime_error(path + " cannot be written");
}

void Run(const std::string& folder, const std::string& input, const std::string& output, int repeat,
         const std::vector<std::string>& names) {
  const Program program = ReadProgram(folder + "/program.txt");
  const size_t weight_bytes = program.number("weights");
  Space arena(program.number("arena")), prepared(program.number("prepared")), image(program.number("image"));
  Space weights(weight_bytes, MapWeights(folder + "/weights.bin", weight_bytes));
  std::map<std::string, Space> outputs;
  ffi::Module library = ffi::Module::LoadFromFile(folder + "/cpu.so");
  auto call = [&](const std::string& name, const std::string& entry, int begin, int end) {
    library->GetFunction(entry).value()(arena.tensor(), weights.tensor(), prepared.tensor(), image.tensor(),
                                        outputs.at(name).tensor(), begin, end);
  };
  for (const std::string& name : names) {
    const Task& task = program.task(name);
    outputs.try_emplace(name, task.bytes());
    if (task.prepare != "-") call(name, task.prepare, 0, kAllSteps);
  }
  ReadNpy(input, image.data(), program.number("image"));
  for (int round = 0; round < repeat; ++round) {
    const auto start = std::chrono::steady_clock::now();
    int begin = 0;
    for (const std::string& name : names) {
      call(name, program.task(name).entry, begin, program.task(name).steps);
      begin = static_cast<int>(program.number("prefix"));
    }
    const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
    std::printf("%.3f\n", spent.count());
  }
  for (const std::string& name : names) WriteNpy(output + "/" + name + ".npy", outputs.at(name).data(), program.task(name));
}

}  // namespace

int main(int count, char** words) {
  if (count < 6) {
    std::fprintf(stderr, "usage: %s FOLDER INPUT.npy OUTPUT_FOLDER REPEAT TASK...\n", words[0]);
    return 2;
  }
  try {
    Run(words[1], words[2], words[3], std::atoi(words[4]), std::vector<std::string>(words + 5, words + count));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
