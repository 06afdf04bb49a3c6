import Foundation
import Memory

/// Copies sequences of one stream of activations, or the tokens alone, out of a cache, as arrays that numpy or
/// safetensors read. Holds one frame in memory.
package struct SequenceExport {
  package enum Format: String, CaseIterable, Sendable { case npy, safetensors }

  package struct Configuration: Sendable {
    /// A hook point, or "hidden" for the final hidden states of that logit policy; nil for the tokens alone.
    package var hook: String?
    /// "a-b": sequences a..<b, as in the names of shards; nil for all.
    package var sequences: String?
    package var format = Format.npy
    package var out = ""
    /// Also token ids and lengths.
    package var tokens = false
    /// Values as they are stored, instead of f32.
    package var native = false
    /// Leave held-out sequences out.
    package var trainingOnly = false

    package init() {}
  }

  /// What was written.
  package struct Summary: Encodable, Sendable {
    package var files: [String] = []
    package var shape: [Int]
    package var dtype: String
    /// Held-out sequences among those written.
    package var heldOut: [Int]
    package var bytes = 0
    package var wasInterrupted = false
  }

  private let configuration: Configuration
  private let stored: StoredSequences
  private let numbers: [Int]
  private let heldOut: Set<Int>
  /// The activations, if any are asked for.
  private let values: (stream: String, width: Int, type: ElementType)?
  private let metadata: [String: String]

  /// - Parameter cache: of one that is not finished, sequences that are there can be named; all count as held out.
  /// - Throws: `ActCacheError.missing` for a hook or sequences that are not there, `.incomplete` for one that lacks some
  ///   unless sequences are named, `.unsupported` for settings that make no sense.
  package init(_ configuration: Configuration, cache: CacheReader) throws {
    self.configuration = configuration
    let manifest = cache.manifest
    stored = try StoredSequences(cache)
    var metadata = [
      "cache": manifest.baseKey, "generation": "\(manifest.generation)",
      "note": "activations are not scaled; sequences in held_out are for evaluation, never for training",
    ]
    // How far it reaches.
    var nSequences = manifest.nSequences
    if let name = configuration.hook {
      let (folder, stream) = try SequenceExport.stream(name, of: cache)
      values = (folder, stream.width, try SequenceExport.type(configuration, stream.dtype))
      nSequences = stream.nSequences
      metadata["stream"] = stream.streamKey
      metadata["hook"] = name
      metadata["stored_dtype"] = stream.dtype
      metadata["scale"] = "\(stream.scale)"
    } else {
      guard configuration.tokens else {
        throw ActCacheError.unsupported("nothing to export: give --hook NAME, --tokens, or both")
      }
      guard !configuration.native else {
        throw ActCacheError.unsupported(
          "--dtype native: token ids are written as i32; leave it out, or give --hook NAME")
      }
      values = nil
    }
    let isFinished = manifest.generation > 0
    guard configuration.sequences != nil || isFinished && nSequences == manifest.nSequences else {
      throw ActCacheError.incomplete(
        "\(cache.path): \(configuration.hook ?? StreamSpec.tokens) is there for sequences 0..<\(nSequences)"
          + (isFinished ? " of \(manifest.nSequences)" : ", the harvest is not finished")
          + "; --sequences 0-\(nSequences) exports them")
    }
    guard isFinished || !configuration.trainingOnly else {
      throw ActCacheError.incomplete(
        "--training-only: \(cache.path) has no held-out sequences before its harvest is finished; leave it out")
    }
    let range = try SequenceExport.range(configuration.sequences, of: nSequences, cache.path)
    // Until the end of the text is known, any sequence may come to be held out.
    heldOut = isFinished ? Set(manifest.heldOut) : Set(range)
    let heldOut = heldOut
    numbers = range.filter { !configuration.trainingOnly || !heldOut.contains($0) }
    guard !numbers.isEmpty else {
      throw ActCacheError.missing("--sequences \(range.lowerBound)-\(range.upperBound): all of them are held out")
    }
    metadata["sequences"] = "\(range.lowerBound)-\(range.upperBound)"
    metadata["held_out"] = numbers.filter { heldOut.contains($0) }.map(String.init).joined(separator: ",")
    self.metadata = metadata
    try SequenceExport.check(out: configuration.out, cache: cache.path)
  }

  /// Where the activations that are called `name` lie.
  private static func stream(_ name: String, of cache: CacheReader) throws -> (folder: String, Manifest.Stream) {
    let policy = name.hasPrefix(StreamSpec.logitsPrefix) ? String(name.dropFirst(StreamSpec.logitsPrefix.count)) : name
    if cache.manifest.hooks[name] == nil, let policy = LogitPolicy(policy) {
      guard policy == .hidden else {
        throw ActCacheError.unsupported(
          "--hook \(name): targets are lists of tokens with probabilities, which are no array; actcache dump shows them, "
            + "docs/format.md §7 says how to read them, and of the policy hidden the states can be exported")
      }
      return (policy.stream, try cache.logits(policy.name))
    }
    return (StreamSpec.hooksPrefix + name, try cache.hook(name))
  }

  private static func type(_ configuration: Configuration, _ dtype: String) throws -> ElementType {
    guard configuration.native else { return .f32 }
    guard case .float(let type)? = StorageType(dtype) else {
      throw ActCacheError.unsupported("--dtype native: \(dtype) has no counterpart in such files; leave it out for f32")
    }
    guard type != .bf16 || configuration.format == .safetensors else {
      throw ActCacheError.unsupported("--dtype native: numpy has no bf16; leave it out for f32, or write safetensors")
    }
    return type
  }

  private static func range(_ text: String?, of n: Int, _ path: String) throws -> Range<Int> {
    guard let text else { return 0..<n }
    let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    guard ends.count == 2, let a = ends[0], let b = ends[1], a < b else {
      throw ActCacheError.unsupported("--sequences \(text): allowed are a-b with a < b, which leaves out b")
    }
    guard b <= n else {
      throw ActCacheError.missing("--sequences \(text): \(path) has the sequences 0-\(n); choose among them")
    }
    return a..<b
  }

  private static func check(out: String, cache: String) throws {
    func resolved(_ path: String) -> String { URL(fileURLWithPath: path).resolvingSymlinksInPath().path }
    let folder = URL(fileURLWithPath: out).deletingLastPathComponent().path
    guard !(resolved(folder) + "/").hasPrefix(resolved(cache) + "/") else {
      throw ActCacheError.unsupported("--out \(out) lies inside the cache; choose another place")
    }
    do { _ = try FileDescriptor(readingFrom: folder).size() } catch .system(_, _, ENOENT) {
      throw ActCacheError.file(.system(call: "create", path: folder, errno: ENOENT))
    } catch {}
    do { _ = try FileDescriptor(readingFrom: out).size() } catch .system(_, _, EISDIR) {
      throw ActCacheError.unsupported("--out \(out) is a folder; give the name of a file")
    } catch {}
  }

  /// - Parameter progress: told the sequences that are done.
  /// - Throws: `ActCacheError.damaged`, `.file`. A file is whole or not there.
  package func write(
    isInterrupted: () -> Bool = { false }, progress: (_ done: Int, _ all: Int) -> Void = { _, _ in }
  ) throws -> Summary {
    var summary = Summary(
      shape: [numbers.count, context] + (values.map { [$0.width] } ?? []), dtype: values?.type.rawValue ?? "i32",
      heldOut: numbers.filter { heldOut.contains($0) })
    do {
      switch configuration.format {
      case .npy: try writeNPY(&summary, isInterrupted, progress)
      case .safetensors: try writeSafetensors(&summary, isInterrupted, progress)
      }
    } catch is Interrupted {
      summary.wasInterrupted = true
    } catch let error as MemoryError { throw ActCacheError.file(error) }
    return summary
  }

  private struct Interrupted: Error {}

  private var context: Int { stored.cache.manifest.context }

  // MARK: files

  private func writeNPY(
    _ summary: inout Summary, _ isInterrupted: () -> Bool, _ progress: (Int, Int) -> Void
  ) throws {
    let stem = configuration.out.hasSuffix(".npy") ? String(configuration.out.dropLast(4)) : configuration.out
    let n = numbers.count
    func start(_ path: String, _ type: String, _ shape: [Int]) throws -> DurableFile {
      var file = try DurableFile(path: path)
      try file.write(NPYHeader.bytes(type: type, shape: shape))
      return file
    }
    func companion(_ name: String, _ type: String, _ shape: [Int], _ body: (inout DurableFile) throws -> Void) throws {
      let path = "\(stem).\(name).npy"
      var file = try start(path, type, shape)
      try body(&file)
      try file.commit()
      summary.files.append(path)
      summary.bytes += file.count
    }
    // Written first and committed last: where it is, the others are, and an interruption leaves none.
    var main: DurableFile
    if let values {
      main = try start(configuration.out, values.type == .f16 ? "<f2" : "<f4", [n, context, values.width])
      try write(values, to: &main, isInterrupted, progress)
    } else {
      main = try start(configuration.out, "<i4", [n, context])
      try writeTokens(to: &main)
    }
    try companion("sequences", "<i8", [n]) { try $0.write(numbers: numbers.map(Int64.init)) }
    try companion("held_out", "|b1", [n]) { try $0.write(numbers: heldOutFlags) }
    if configuration.tokens {
      if values != nil { try companion("tokens", "<i4", [n, context]) { try writeTokens(to: &$0) } }
      try companion("lengths", "<i4", [n]) { try $0.write(numbers: lengths()) }
    }
    try main.commit()
    summary.files.append(configuration.out)
    summary.bytes += main.count
  }

  private func writeSafetensors(
    _ summary: inout Summary, _ isInterrupted: () -> Bool, _ progress: (Int, Int) -> Void
  ) throws {
    typealias Place = SafetensorsWriter.Place
    let n = numbers.count
    var places = [Place(name: "sequences", type: "I64", bytesPerElement: 8, shape: [n])]
    if configuration.tokens {
      places.append(Place(name: "tokens", type: "I32", bytesPerElement: 4, shape: [n, context]))
      places.append(Place(name: "lengths", type: "I32", bytesPerElement: 4, shape: [n]))
    }
    if let (_, width, type) = values {
      places.append(
        Place(
          name: "activations", type: type.rawValue.uppercased(), bytesPerElement: type.byteCount,
          shape: [n, context, width]))
    }
    places.append(Place(name: "held_out", type: "BOOL", bytesPerElement: 1, shape: [n]))
    var file = try DurableFile(path: configuration.out)
    let head = SafetensorsWriter.head(places, metadata: metadata)
    try file.write(head)
    try file.write(numbers: numbers.map(Int64.init))
    if configuration.tokens {
      try writeTokens(to: &file)
      try file.write(numbers: lengths())
    }
    if let values { try write(values, to: &file, isInterrupted, progress) }
    try file.write(numbers: heldOutFlags)
    let expected = places.reduce(head.count) { $0 + $1.byteCount }
    precondition(file.count == expected, "\(file.count) bytes written, the header describes \(expected)")
    try file.commit()
    summary.files = [configuration.out]
    summary.bytes = file.count
  }

  // MARK: arrays

  private var heldOutFlags: [UInt8] { numbers.map { heldOut.contains($0) ? 1 : 0 } }

  private func lengths() throws -> [Int32] {
    try numbers.map { Int32(clamping: try stored.tokens(of: $0).length) }
  }

  private func writeTokens(to file: inout DurableFile) throws {
    for number in numbers {
      try file.write(numbers: try stored.tokens(of: number).tokens.map { Int32(bitPattern: $0) })
    }
  }

  private func write(
    _ activations: (stream: String, width: Int, type: ElementType), to file: inout DurableFile,
    _ isInterrupted: () -> Bool, _ progress: (Int, Int) -> Void
  ) throws {
    var values = [Float](repeating: 0, count: context * activations.width)
    for (i, number) in numbers.enumerated() {
      if isInterrupted() { throw Interrupted() }
      var output = values.mutableSpan
      try stored.read(number, stream: activations.stream, into: &output)
      try file.write(numbers: values.span, as: activations.type)
      progress(i + 1, numbers.count)
    }
  }
}

/// What begins a `.npy` file (numpy.lib.format, version 1.0).
enum NPYHeader {
  /// - Parameter type: of the elements as numpy's `descr` has it, such as "<f4".
  static func bytes(type: String, shape: [Int]) -> [UInt8] {
    let list = shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? "," : "")
    var text = "{'descr': '\(type)', 'fortran_order': False, 'shape': (\(list)), }"
    // Magic, version and length take 10 bytes; all of it is a multiple of 64.
    while (10 + text.utf8.count + 1) % 64 != 0 { text += " " }
    text += "\n"
    let count = text.utf8.count
    return [0x93] + Array("NUMPY".utf8) + [
      1, 0, UInt8(truncatingIfNeeded: count), UInt8(truncatingIfNeeded: count >> 8),
    ]
      + Array(text.utf8)
  }
}
