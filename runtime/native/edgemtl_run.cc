// Runs tasks of an extracted bundle on a device without Python.
//
//   edgemtl_run FOLDER INPUTS OUTPUT_FOLDER REPEAT TASK...
//
// FOLDER is written by edgemtl.bundle.extract_program, which checks every byte; nothing is checked again here, so it
// belongs where only trusted users write. INPUTS is the .npy file of the only input, or NAME=FILE.npy of each input that
// the tasks read, joined by commas. The tasks run REPEAT times on one frame, their common beginning once each time; OUTPUT_FOLDER/TASK.npy is the last answer. Prints the milliseconds of each round.

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

struct Input {
  size_t offset = 0, bytes = 0;
  std::string type, name;
};

struct Task {
  std::string entry, prepare, type;
  int steps = 0;
  std::vector<int64_t> shape, reads;

  // The type is as an .npy file spells it, "<f4": its last digit is the bytes of an element.
  size_t bytes() const {
    size_t count = static_cast<size_t>(type.back() - '0');
    for (int64_t extent : shape) count *= static_cast<size_t>(extent);
    return count;
  }
};

std::vector<int64_t> ReadSizes(std::istringstream& words) {
  size_t count = 0;
  words >> count;
  std::vector<int64_t> sizes(count);
  for (int64_t& size : sizes) words >> size;
  return sizes;
}

// program.txt: "arena BYTES", "prepared BYTES", "weights BYTES", "inputs BYTES", "prefix STEPS"; per input "input OFFSET
// BYTES TYPE NAME"; per task "task NAME ENTRY PREPARE|- STEPS TYPE RANK EXTENT... COUNT INPUT...", inputs by number
struct Program {
  std::map<std::string, size_t> numbers;
  std::map<std::string, Task> tasks;
  std::vector<Input> inputs;

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
    if (key == "input") {
      Input input;
      words >> input.offset >> input.bytes >> input.type >> std::ws;
      std::getline(words, input.name);
      program.inputs.push_back(input);
      continue;
    }
    if (key != "task") {
      words >> program.numbers[key];
      continue;
    }
    Task task;
    std::string name;
    words >> name >> task.entry >> task.prepare >> task.steps >> task.type;
    task.shape = ReadSizes(words);
    task.reads = ReadSizes(words);
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

// A C-order .npy file of the input's type and exactly its bytes of data; its shape was checked by whoever wrote it.
void ReadNpy(const std::string& path, const Input& input, void* space) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  const std::string content = text.str();
  const size_t start = content.size() < 10 ? 0 : 10 + static_cast<uint8_t>(content[8]) + 256 * static_cast<uint8_t>(content[9]);
  const std::string header = content.substr(0, start);
  if (start == 0 || content.size() != start + input.bytes || header.find("'" + input.type + "'") == std::string::npos ||
      header.find("'fortran_order': False") == std::string::npos) {
    throw std::runtime_error(path + " must be an .npy file of type " + input.type + " with " +
                             std::to_string(input.bytes) + " bytes of data, for input " + input.name);
  }
  std::memcpy(static_cast<char*>(space) + input.offset, content.data() + start, input.bytes);
}

// The file of each input that is given, by its number: FILE of the only input, or NAME=FILE,NAME=FILE.
std::map<size_t, std::string> SplitInputs(const std::string& words, const std::vector<Input>& inputs) {
  std::map<size_t, std::string> files;
  std::istringstream parts(words);
  for (std::string part; std::getline(parts, part, ',');) {
    const size_t equals = part.find_last_of('=');
    if (equals == std::string::npos && inputs.size() == 1) {
      files[0] = part;
      continue;
    }
    size_t number = 0;
    while (number < inputs.size() && inputs[number].name != part.substr(0, equals)) ++number;
    if (equals == std::string::npos || number == inputs.size()) {
      throw std::runtime_error("'" + part + "' must be NAME=FILE.npy of an input in program.txt");
    }
    files[number] = part.substr(equals + 1);
  }
  return files;
}

void ReadInputs(const std::string& words, const Program& program, const std::vector<std::string>& tasks, void* space) {
  const std::map<size_t, std::string> files = SplitInputs(words, program.inputs);
  for (const std::string& name : tasks) {
    for (int64_t number : program.task(name).reads) {
      if (files.count(static_cast<size_t>(number)) == 0) {
        throw std::runtime_error("input " + program.inputs[number].name + " must be given, which " + name + " reads");
      }
    }
  }
  for (const auto& [number, path] : files) ReadNpy(path, program.inputs[number], space);
}

void WriteNpy(const std::string& path, const void* data, const Task& task) {
  std::string shape;
  for (int64_t extent : task.shape) shape += std::to_string(extent) + ", ";
  std::string header = "{'descr': '" + task.type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
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
  Space arena(program.number("arena")), prepared(program.number("prepared")), inputs(program.number("inputs"));
  Space weights(weight_bytes, MapWeights(folder + "/weights.bin", weight_bytes));
  std::map<std::string, Space> outputs;
  ffi::Module library = ffi::Module::LoadFromFile(folder + "/cpu.so");
  auto call = [&](const std::string& name, const std::string& entry, int begin, int end) {
    library->GetFunction(entry).value()(arena.tensor(), weights.tensor(), prepared.tensor(), inputs.tensor(),
                                        outputs.at(name).tensor(), begin, end);
  };
  for (const std::string& name : names) {
    const Task& task = program.task(name);
    outputs.try_emplace(name, task.bytes());
    if (task.prepare != "-") call(name, task.prepare, 0, kAllSteps);
  }
  ReadInputs(input, program, names, inputs.data());
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
    std::fprintf(stderr, "usage: %s FOLDER INPUTS OUTPUT_FOLDER REPEAT TASK...\n", words[0]);
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
