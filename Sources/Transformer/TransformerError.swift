/// What can go wrong in this module. The message says what failed, where, expected and found, and what to do.
public enum TransformerError: Error, Equatable, CustomStringConvertible {
  /// A file is not what its format asks for.
  case malformed(path: String, problem: String)
  /// There is no model at a path.
  case noModel(path: String, problem: String)
  case missingKey(path: String, key: String)
  /// A key that may change the computation and that this program does not know.
  case unknownKey(path: String, key: String, architecture: String)
  case unsupportedValue(path: String, key: String, value: String, supported: String)
  case missingTensor(path: String, tensor: String)
  case unexpectedTensor(path: String, tensor: String, architecture: String)
  case wrongShape(path: String, tensor: String, found: [Int], expected: [Int])
  case unsupportedTensorType(path: String, tensor: String, type: String)
  case unknownHook(name: String, valid: [String])
  case tokenOutOfRange(id: UInt32, sequence: Int, position: Int, dVocab: Int)
  case sequenceTooLong(nPositions: Int, nCtx: Int)
  /// A forward pass that cannot be run; `problem` is a whole sentence.
  case invalidRequest(problem: String)

  public var description: String {
    switch self {
    case .malformed(let path, let problem):
      "\(path): \(problem); the file is damaged or not of this format, fetch it again"
    case .noModel(let path, let problem):
      "\(path): \(problem); give a folder with config.json and model.safetensors, or a .gguf file"
    case .missingKey(let path, let key):
      "\(path): \(key) is missing"
    case .unknownKey(let path, let key, let architecture):
      "\(path): \(key) is not known for \(architecture) and may change what the model computes; "
        + "remove it if it does not matter"
    case .unsupportedValue(let path, let key, let value, let supported):
      "\(path): \(key) is \(value), supported: \(supported)"
    case .missingTensor(let path, let tensor):
      "\(path): tensor \(tensor) is missing"
    case .unexpectedTensor(let path, let tensor, let architecture):
      "\(path): tensor \(tensor) is not part of a \(architecture) model; it may change what the model computes"
    case .wrongShape(let path, let tensor, let found, let expected):
      "\(path): tensor \(tensor) has shape \(found), the configuration asks for \(expected)"
    case .unsupportedTensorType(let path, let tensor, let type):
      "\(path): tensor \(tensor) is stored as \(type), which cannot be read; "
        + "convert the model to F32, F16, BF16, Q8_0, Q4_0 or Q4_1"
    case .unknownHook(let name, let valid):
      "\(name) is not a hook point of this model; valid: \(valid.joined(separator: ", "))"
    case .tokenOutOfRange(let id, let sequence, let position, let dVocab):
      "token \(id) at position \(position) of sequence \(sequence) is not below the vocabulary size \(dVocab); "
        + "the tokens are of another tokenizer"
    case .sequenceTooLong(let nPositions, let nCtx):
      "sequences of \(nPositions) tokens, the model has \(nCtx) positions; use a shorter context"
    case .invalidRequest(let problem):
      problem
    }
  }
}
