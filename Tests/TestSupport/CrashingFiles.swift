import Foundation
import Memory
import Synchronization

/// File operations on the real file system that stop at a chosen one, as if the process were killed there; `settle` then
/// makes of the folders what a power loss at that moment may leave.
///
/// The model, which takes from POSIX no more than it promises:
///
/// - A process sees its operations at once. After `kill -9` everything it did is there: call `restart` and look.
/// - The *bytes* of a file survive a power loss if `synchronize` of that file came after they were written. Of later
///   bytes, `settle` keeps a beginning: a random number of sectors of 512 bytes, or all. What it keeps may be wrong: the
///   last sector is torn (garbage), and others were never written (zeros).
/// - The *names* in a folder (created, renamed, linked, unlinked, folders made) survive if `synchronizeFolder` of that
///   folder came after. Later changes are kept or lost, each by itself and in any order: an older file that was replaced
///   is back, an unlinked name is back, a created one is gone. One rename is kept or lost as a whole, as every journal
///   does it.
/// - The two have nothing to do with each other. A file's fsync saves no name, a folder's fsync saves no bytes: a durable
///   name of a file that was never synchronized is a name of whatever bytes are left.
/// - A folder's own name is an entry of its parent. If that is lost, everything in it is, durable or not.
///
/// Operations that change the disk are counted, from 0: create, write, synchronize, rename, link, unlink, makeFolder,
/// synchronizeFolder. At number `crashAt` that operation and every later call, reading ones too, throws an error and
/// does nothing, so no clean-up runs either; only a write does its first half before. fsync does nothing on the real
/// disk, which makes runs fast. Only what goes through these operations is modelled; what was on the disk before is
/// durable. Files and folders must not be renamed by other means, folders not at all.
package final class CrashingFiles: FileOperations {
  private enum Entry: Equatable {
    case absent, folder
    /// Index into `contents`.
    case file(Int)
  }

  private struct Content {
    var bytes: [UInt8]
    var nDurable: Int
  }

  /// One operation on names: kept or lost as a whole.
  private typealias Change = [(path: String, entry: Entry)]

  private struct State {
    var crashAt: Int
    var hasCrashed = false
    var isSettled = false
    var operations: [String] = []
    var contents: [Content] = []
    var durable: [String: Entry] = [:]
    /// Since the folders were synchronized, in order.
    var pending: [Change] = []
    /// Open files by their numbers.
    var open: [Int32: Int] = [:]
  }

  private let real = RealFiles()
  private let state: Mutex<State>

  /// - Parameter crashAt: number of the operation that does not happen any more; none by default.
  package init(crashAt: Int = .max) { state = Mutex(State(crashAt: crashAt)) }

  /// What happened since the start or `restart`, in words; the last one is what the crash prevented.
  package var operations: [String] { state.withLock { $0.operations } }

  /// Number of operations since the start or `restart`: crash points are 0 ..< this number of an undisturbed run.
  package var nOperations: Int { operations.count }

  package var hasCrashed: Bool { state.withLock { $0.hasCrashed } }

  /// Another process begins, after a kill (what was not durable still is not) or after `settle` (what is there is).
  package func restart(crashAt: Int = .max) {
    state.withLock { state in
      if state.isSettled { state = State(crashAt: crashAt) }
      state.crashAt = crashAt
      state.hasCrashed = false
      state.operations = []
    }
  }

  /// Cuts the power, now or at the crash, and turns the real folders into one of the states that may follow.
  ///
  /// Seed 0 loses all that may be lost, seed 1 nothing, others a random part. May be called again with other seeds as
  /// long as nothing else has changed the folders.
  package func settle(seed: UInt64) throws {
    try state.withLock { state in
      state.hasCrashed = true
      state.isSettled = true
      var generator = SeededGenerator(seed: seed)
      let keep = seed < 2 ? Double(seed) : Double.random(in: 0...1, using: &generator)
      var entries = state.durable
      for change in state.pending where Double.random(in: 0..<1, using: &generator) < keep {
        for (path, entry) in change { entries[path] = entry }
      }
      let survivors = state.contents.map { CrashingFiles.survivor(of: $0, keep: keep, using: &generator) }
      let manager = FileManager.default
      // From the outermost folder on: what is in a lost one is lost.
      var lost: [String] = []
      for (path, entry) in entries.sorted(by: { $0.key < $1.key }) {
        if lost.contains(where: { path.hasPrefix($0 + "/") }) { continue }
        // A file is made anew, as on the real disk its name may now be one of several of another file.
        if entry != .folder, manager.fileExists(atPath: path) { try manager.removeItem(atPath: path) }
        switch entry {
        case .absent: lost.append(path)
        case .folder: try manager.createDirectory(atPath: path, withIntermediateDirectories: true)
        case .file(let id): try Data(survivors[id]).write(to: URL(fileURLWithPath: path))
        }
      }
    }
  }

  /// What of a file may be on the disk.
  private static func survivor(of content: Content, keep: Double, using generator: inout SeededGenerator) -> [UInt8] {
    let (bytes, nDurable) = (content.bytes, content.nDurable)
    if keep == 1 || nDurable == bytes.count { return bytes }
    let cuts = [nDurable] + (nDurable / 512 + 1..<bytes.count / 512 + 1).map { $0 * 512 } + [bytes.count]
    let cut = keep == 0 ? nDurable : cuts.randomElement(using: &generator) ?? nDurable
    var kept = Array(bytes[..<cut])
    for sector in stride(from: nDurable / 512 * 512, to: cut, by: 512) {
      let range = max(sector, nDurable)..<min(sector + 512, cut)
      if range.upperBound == cut {
        if Bool.random(using: &generator) { for i in range { kept[i] = .random(in: 0...255, using: &generator) } }
      } else if Double.random(in: 0..<1, using: &generator) > keep {
        for i in range { kept[i] = 0 }
      }
    }
    return kept
  }

  /// Does `body` unless the power is gone, which `operation` (nil if it changes nothing) may bring about.
  private func run<R: Sendable>(
    _ operation: String?, path: String, atCrash: (inout State) throws(MemoryError) -> Void = { _ in },
    _ body: (inout State) throws(MemoryError) -> R
  ) throws(MemoryError) -> R {
    try state.withLock { (state) throws(MemoryError) in
      let crash = MemoryError.system(call: "crash", path: path, errno: ECANCELED)
      if state.hasCrashed { throw crash }
      if let operation {
        state.operations.append("\(operation) \(path)")
        if state.operations.count > state.crashAt {
          state.hasCrashed = true
          try atCrash(&state)
          throw crash
        }
      }
      return try body(&state)
    }
  }

  /// What is at `path` now. What nobody has touched so far is durable as it is on the disk.
  private func entry(_ path: String, _ state: inout State) throws(MemoryError) -> Entry {
    for change in state.pending.reversed() {
      if let last = change.last(where: { $0.path == path }) { return last.entry }
    }
    if let entry = state.durable[path] { return entry }
    var entry = Entry.absent
    var isFolder = ObjCBool(false)
    if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) {
      if isFolder.boolValue {
        entry = .folder
      } else {
        let bytes = try readFile(path, atMost: .max)
        entry = .file(state.contents.count)
        state.contents.append(Content(bytes: bytes, nDurable: bytes.count))
      }
    }
    state.durable[path] = entry
    return entry
  }

  /// One path for one file: absolute, without empty and `.` components. Links and `..` are not followed.
  private func normal(_ path: String) -> String {
    URL(fileURLWithPath: path).path.split(separator: "/").filter { $0 != "." }.reduce("") { $0 + "/" + $1 }
  }

  package func create(_ path: String) throws(MemoryError) -> OpenFile {
    try run("create", path: path) { (state) throws(MemoryError) in
      _ = try entry(normal(path), &state)
      let file = try real.create(path)
      state.open[file.number] = state.contents.count
      state.pending.append([(normal(path), .file(state.contents.count))])
      state.contents.append(Content(bytes: [], nDurable: 0))
      return file
    }
  }

  package func open(_ path: String) throws(MemoryError) -> OpenFile {
    try run(nil, path: path) { (state) throws(MemoryError) in
      let file = try real.open(path)
      if case .file(let id) = try entry(normal(path), &state) { state.open[file.number] = id }
      return file
    }
  }

  package func write(_ bytes: RawSpan, to file: OpenFile) throws(MemoryError) -> Int {
    func write(_ bytes: RawSpan, _ state: inout State) throws(MemoryError) -> Int {
      let n = try real.write(bytes, to: file)
      if let id = state.open[file.number] { state.contents[id].bytes += bytes.bytes(0..<n) }
      return n
    }
    return try run("write", path: file.path) { (state) throws(MemoryError) in
      _ = try write(bytes.extracting(first: bytes.byteCount / 2), &state)
    } _: { (state) throws(MemoryError) in
      try write(bytes, &state)
    }
  }

  package func read(_ file: OpenFile, at offset: Int, upTo count: Int) throws(MemoryError) -> [UInt8] {
    try run(nil, path: file.path) { (_) throws(MemoryError) in try real.read(file, at: offset, upTo: count) }
  }

  package func size(of file: OpenFile) throws(MemoryError) -> Int {
    try run(nil, path: file.path) { (_) throws(MemoryError) in try real.size(of: file) }
  }

  package func synchronize(_ file: OpenFile) throws(MemoryError) {
    try run("fsync", path: file.path) { (state) throws(MemoryError) in
      if let id = state.open[file.number] { state.contents[id].nDurable = state.contents[id].bytes.count }
    }
  }

  package func close(_ file: OpenFile) throws(MemoryError) {
    // The kernel closes what a dead process had open.
    state.withLock { $0.open[file.number] = nil }
    try real.close(file)
    try run(nil, path: file.path) { (_) throws(MemoryError) in }
  }

  package func rename(_ old: String, to new: String) throws(MemoryError) {
    try run("rename", path: new) { (state) throws(MemoryError) in
      let moved = try entry(normal(old), &state)
      _ = try entry(normal(new), &state)
      precondition(moved != .folder, "renaming folders is not modelled: \(old)")
      try real.rename(old, to: new)
      state.pending.append([(normal(old), .absent), (normal(new), moved)])
    }
  }

  package func link(_ old: String, to new: String) throws(MemoryError) {
    try run("link", path: new) { (state) throws(MemoryError) in
      let linked = try entry(normal(old), &state)
      _ = try entry(normal(new), &state)
      try real.link(old, to: new)
      state.pending.append([(normal(new), linked)])
    }
  }

  package func unlink(_ path: String) throws(MemoryError) {
    try run("unlink", path: path) { (state) throws(MemoryError) in
      _ = try entry(normal(path), &state)
      try real.unlink(path)
      state.pending.append([(normal(path), .absent)])
    }
  }

  package func makeFolder(_ path: String) throws(MemoryError) {
    try run("mkdir", path: path) { (state) throws(MemoryError) in
      _ = try entry(normal(path), &state)
      try real.makeFolder(path)
      state.pending.append([(normal(path), .folder)])
    }
  }

  package func synchronizeFolder(_ path: String) throws(MemoryError) {
    let folder = normal(path) + "/"
    try run("fsync", path: path) { (state) throws(MemoryError) in
      // Of a rename between two folders, only this one's half.
      state.pending = state.pending.map { change in
        change.filter { path, entry in
          guard path.hasPrefix(folder), !path.dropFirst(folder.count).contains("/") else { return true }
          state.durable[path] = entry
          return false
        }
      }.filter { !$0.isEmpty }
    }
  }

  package func list(_ folder: String) throws(MemoryError) -> [String] {
    try run(nil, path: folder) { (_) throws(MemoryError) in try real.list(folder) }
  }
}
