import Foundation

/// A copy of a model's folder, of the same weights with another configuration.
///
/// - Parameters:
///   - model: a folder with config.json and safetensors.
///   - path: of the copy, which must not exist.
///   - changes: members of config.json and their values.
public func copyModel(_ model: String, to path: String, changing changes: [String: Any]) throws {
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  for name in try FileManager.default.contentsOfDirectory(atPath: model) {
    try FileManager.default.copyItem(atPath: "\(model)/\(name)", toPath: "\(path)/\(name)")
  }
  let config = URL(fileURLWithPath: "\(path)/config.json")
  guard var members = try JSONSerialization.jsonObject(with: Data(contentsOf: config)) as? [String: Any] else {
    throw CocoaError(.fileReadCorruptFile)
  }
  members.merge(changes) { $1 }
  try JSONSerialization.data(withJSONObject: members).write(to: config)
}
