import Foundation
import Memory

/// Adds ranges of sequences to a cache.
///
/// A shard exists once its receipt exists; receipts are written last. Any number of writers may work on different
/// ranges or streams of one cache, in one process or several.
package final class CacheWriter {
  package let path: String
  package let spec: CacheSpec
  /// What this writer is to bring the cache to, beside the tokens.
  package let streams: [StreamSpec]
  private let files: any FileOperations

  /// Makes the folders.
  /// - Throws: `ActCacheError.mismatch` with both identities if another cache is there, or one that keeps a stream in
  ///   another way.
  package init(
    path: String, spec: CacheSpec, streams: [StreamSpec], files: any FileOperations = RealFiles()
  ) throws {
    self.path = path
    self.spec = spec
    self.streams = streams
    self.files = files
    try spec.validate()
    try spec.validate(streams)
    _ = try contents()
    let folders = ([StreamSpec.tokens] + streams.map(\.name)).flatMap { [$0, "receipts/" + $0] }
    try fileErrors { () throws(MemoryError) in
      for folder in folders + [Generation.folder] {
        try createFolder(path + "/" + folder, files: files)
        // What a killed process has put there may not be durable yet, and more is going to be built on it.
        try synchronizeFolder(of: path + "/" + folder + "/x", files: files)
      }
    }
  }

  /// What is there now.
  /// - Throws: `ActCacheError.mismatch` if it is another cache's.
  package func contents() throws -> CacheContents {
    let contents = try CacheContents(cache: path, files: files)
    try contents.spec?.requireSame(as: spec, path: path)
    for stream in streams {
      guard let there = contents.receipts[stream.name]?.first?.stream, there != stream else { continue }
      throw ActCacheError.mismatch(
        "\(path): \(stream.name) is there in another form: \(there.differences(from: stream).joined(separator: "; ")). "
          + "Choose another --out, or repeat the command that made this stream")
    }
    return contents
  }

  /// Starts to write sequences `range` of `streams`, and of the tokens if they are wanted.
  ///
  /// - Parameters:
  ///   - saturates: what f16 cannot hold becomes ±65,504 and is counted; otherwise it is an error.
  ///   - timer: of the thread that writes; told what the time goes into.
  package func begin(
    _ range: Range<Int>, streams: [StreamSpec]? = nil, writesTokens: Bool = true, saturates: Bool = false,
    timer: LapTimer? = nil
  ) throws -> ShardSetWriter {
    try ShardSetWriter(
      cache: path, spec: spec, streams: streams ?? self.streams, writesTokens: writesTokens, range: range,
      saturates: saturates, files: files, timer: timer)
  }

  /// Records that the text ends after `nSequences`.
  package func writeGeneration(
    nSequences: Int, chain: TokenChain, corpora: [String], counts: CorpusCounts
  ) throws {
    let generation = Generation(
      baseKey: try spec.identity.baseKey(), nSequences: nSequences, chain: chain.hexValue, corpora: corpora,
      counts: counts)
    try SealedJSON.write(
      generation, name: "generation", to: path + "/" + Generation.relativePath(nSequences), files: files)
  }

  /// Derives the manifest from what is there and writes it if it says something new.
  @discardableResult
  package func writeManifest() throws -> CacheIndex.Outcome {
    try CacheIndex.write(cache: path, files: files)
  }

  /// Removes temporaries that nobody will finish: those of processes of this host that have ended, and those that
  /// nobody has written to for `age` seconds.
  package func sweepTemporaries(olderThanSeconds age: Double = 3600) throws {
    let streams = try CacheContents.streamFolders(cache: path, files)
    for folder in ["", Generation.folder] + streams + streams.map({ "receipts/" + $0 }) {
      let folder = folder.isEmpty ? path : path + "/" + folder
      for name in (try? listFolder(folder, files: files)) ?? [] {
        guard let temporary = TemporaryName(parsing: name) else { continue }
        let file = folder + "/" + name
        let changed = (try? FileManager.default.attributesOfItem(atPath: file))?[.modificationDate] as? Date
        let seconds = changed.map { Date().timeIntervalSince($0) } ?? 0
        // That the process seems to be gone is a hint only: containers can share a host name.
        if seconds >= age || (seconds >= 60 && temporary.ownerIsGone) { try? removeFile(file, files: files) }
      }
    }
  }
}
