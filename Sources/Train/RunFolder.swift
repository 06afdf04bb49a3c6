import ActCache
import Foundation
import Memory
import SAE
import Transformer

/// The folder of a run, and what it must agree on with a process that goes on there.
///
///     <out>/config.yaml       complete, replayable
///     <out>/data.json         which data it was trained on
///     <out>/metrics.jsonl     one line per `log-steps` steps
///     <out>/checkpoints/      the newest state, while the run is not finished
///     <out>/sae/              the result, in SAELens' layout
///     <out>/half-layers.safetensors   the trained half-layers, if there are any
///     <out>/eval.json         its newest evaluation, by `eval` or `compare`
package struct RunFolder: Sendable {
  package let path: String

  package init(_ path: String) { self.path = path }

  var checkpoints: String { "\(path)/checkpoints" }
  var metrics: String { "\(path)/metrics.jsonl" }
  var sae: String { "\(path)/sae" }
  var halfLayers: String { "\(path)/\(TrainedHalfLayer.fileName)" }

  package var isFinished: Bool {
    FileManager.default.fileExists(atPath: "\(sae)/\(SAELensFormat.configurationFile)")
  }

  /// Writes data.json, or checks that the one in the folder names the same data.
  func agree(on identity: DataIdentity) throws {
    guard let there = try data() else { return try write(identity) }
    var (a, b) = (there, identity)
    b.initial = a.initial
    let skipped = (a.skipped ?? [], b.skipped ?? [])
    // Which frames decides the order; what is wrong with them does not.
    let skipsTheSame = skipped.0.map(\.frame) == skipped.1.map(\.frame)
    (a.skipped, b.skipped) = (nil, nil)
    // A window as large as the cache has a frame less when one is left out.
    if !skipsTheSame { a.windowFrames = b.windowFrames }
    guard a == b else {
      func list(_ data: DataIdentity) -> String {
        "stream \(data.stream.prefix(12)), "
          + (data.target.map { "target \($0.prefix(12)), " } ?? "")
          + "text \(data.text.prefix(12)), \(data.sequences) sequences, \(data.heldOut) held "
          + "out, windows of \(data.windowFrames) frames"
          + (data.outliers.map { ", without the \($0.tokens) tokens of norm above \($0.maxNorm)" } ?? "")
      }
      throw TrainError.mismatch(
        "\(self.path): was trained on \(list(a)); this cache has \(list(b)); give the cache it was begun with, or another "
          + "--out")
    }
    guard skipsTheSame else {
      throw TrainError.mismatch(
        "\(self.path): was begun with \(RunFolder.list(skipped.0)) left out as damaged, now it would be "
          + "\(RunFolder.list(skipped.1)), which changes the order of the tokens; repair the cache (`actcache repair`), "
          + "or choose another --out")
    }
  }

  /// Adds to data.json what a run that has not begun takes its weights from.
  func record(_ initial: DataIdentity.InitialSAE) throws {
    guard var data = try data() else { return }
    data.initial = initial
    try write(data)
  }

  private var dataFile: String { "\(path)/data.json" }

  /// data.json; nil if there is none. Throws `TrainError.mismatch` for another file of that name.
  private func data() throws -> DataIdentity? {
    guard let text = FileManager.default.contents(atPath: dataFile) else { return nil }
    do { return try JSONDecoder().decode(DataIdentity.self, from: text) } catch {
      throw TrainError.mismatch("\(dataFile): not the data of a run; choose another --out, or remove \(path)")
    }
  }

  private func write(_ data: DataIdentity) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
    try DurableFile.write([UInt8](try encoder.encode(data)), to: dataFile)
  }

  private static func list(_ frames: [SkippedFrame]) -> String {
    if frames.isEmpty { return "no frame" }
    let shown = frames.prefix(8).map { String($0.frame) }.joined(separator: ", ")
    return "\(frames.count == 1 ? "frame" : "frames") \(shown)"
      + (frames.count > 8 ? " and \(frames.count - 8) more" : "")
  }

  /// What config.yaml says about `keys`, as text; nil for options that are not set.
  ///
  /// Throws `TrainError.missing` if it is not there, `.invalid` for a key that no run has.
  package func options(_ keys: [String]) throws -> [String?] {
    let path = "\(self.path)/config.yaml"
    guard let text = FileManager.default.contents(atPath: path) else {
      throw TrainError.missing("\(path): no such file; give the folder of a run of `actcache train`")
    }
    return try TrainConfiguration.options(keys, yaml: String(decoding: text, as: UTF8.self), path: path)
  }

  /// The file of half-layers that were trained beside the SAE; nil if there are none.
  ///
  /// Throws `TrainError.missing` if the run trained some, but the file is not there.
  package func trainedHalfLayers() throws -> String? {
    if FileManager.default.fileExists(atPath: halfLayers) { return halfLayers }
    let path = "\(self.path)/config.yaml"
    guard let text = FileManager.default.contents(atPath: path) else { return nil }
    let configuration = try TrainConfiguration(yaml: String(decoding: text, as: UTF8.self), path: path)
    if try configuration.makeObjective().trainsHalfLayers {
      throw TrainError.missing(
        "\(halfLayers): no such file, but half-layers were trained with this SAE, which means nothing without them; "
          + "restore the file, or train the run again")
    }
    return nil
  }

  /// The generation of the cache that the run was begun on; nil if there is no run.
  package func generation() throws -> Int? {
    let path = "\(self.path)/config.yaml"
    guard let text = FileManager.default.contents(atPath: path) else { return nil }
    return try TrainConfiguration(yaml: String(decoding: text, as: UTF8.self), path: path).generation
  }

  /// The frames that the run was begun without: it goes on without them, mended or not.
  package var skippedFrames: [SkippedFrame] {
    // `agree` says what is wrong with a file that cannot be read.
    (try? data())?.skipped ?? []
  }

  /// Writes config.yaml, or checks that the one in the folder says the same.
  func agree(on given: TrainConfiguration) throws {
    let configuration = given.complete
    let path = "\(self.path)/config.yaml"
    guard let text = FileManager.default.contents(atPath: path) else {
      try DurableFile.write([UInt8](try configuration.yaml.utf8), to: path)
      return
    }
    let written = String(decoding: text, as: UTF8.self)
    var there = try TrainConfiguration(yaml: written, path: path).complete
    // How to read, log and save changes nothing in the result, and the folder may have been moved.
    there.out = configuration.out
    there.cache = configuration.cache
    there.model = configuration.model
    there.io = configuration.io
    there.memory = configuration.memory
    there.logSteps = configuration.logSteps
    there.checkpointSteps = configuration.checkpointSteps
    guard there == configuration else {
      let lacking = try there.missingKeys(yaml: written, path: path)
      if !lacking.isEmpty {
        let shown = lacking.prefix(3).joined(separator: ", ")
        let rest = lacking.count > 3 ? " and \(lacking.count - 3) more keys" : ""
        throw TrainError.invalid(
          "\(path): cut short or edited: it lacks \(shown)\(rest); restore it, or choose another --out")
      }
      let (a, b) = (try there.yaml.split(separator: "\n"), try configuration.yaml.split(separator: "\n"))
      let difference = Set(a).symmetricDifference(b).sorted().joined(separator: "; ")
      throw TrainError.invalid(
        "\(self.path): holds a run with other settings (\(difference)); choose another --out, or remove that folder")
    }
  }
}
