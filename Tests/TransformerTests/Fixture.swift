import Foundation
import LinearAlgebra
import TestSupport
import Testing

import Transformer

/// A tiny model and what Hugging Face computes with it; see scripts/fixtures/transformer.py.
struct Fixture: CustomTestStringConvertible, Sendable {
  static let names = [
    "gpt-neo", "gpt2", "gpt-neox-parallel", "gpt-neox-sequential", "llama-tied", "llama-untied",
  ]
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Fixtures")
    .path
  static var all: [Fixture] { names.map { Fixture(name: $0) } }

  let name: String
  var testDescription: String { name }
  var path: String { Self.folder + "/" + name }

  func model() throws -> TransformerModel { try TransformerModel.load(path: path) }

  /// All expected values by name.
  func expected() throws -> WeightFiles { try Self.tensors(at: path + "/expected.safetensors") }

  static func tensors(at path: String) throws -> WeightFiles {
    let file = try MappedWeights(path: path)
    return WeightFiles(path: path, files: [file], tensors: try Safetensors.tensors(in: file, number: 0))
  }

  func batch(_ expected: WeightFiles) throws -> TokenBatch {
    let tokens = try expected.all("tokens")
    return TokenBatch(ids: tokens.values.map { UInt32($0) }, nSequences: tokens.rows, nPositions: tokens.columns)
  }
}

extension WeightFiles {
  func all(_ name: String) throws -> Matrix { try matrix(name, shape: #require(tensors[name]).shape) }
}

/// Largest difference relative to the largest expected value.
func relativeError(_ found: borrowing Matrix, _ expected: borrowing Matrix) -> Float {
  guard found.rows == expected.rows, found.columns == expected.columns else { return .infinity }
  let (a, b) = (found.values, expected.values)
  let scale = b.map(abs).max() ?? 0
  var worst: Float = 0
  for i in a.indices { worst = max(worst, a[i].isFinite ? abs(a[i] - b[i]) : .infinity) }
  return scale > 0 ? worst / scale : worst
}
