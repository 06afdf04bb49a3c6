#if os(Linux) && !DEBUG
  import Foundation
  import TestSupport
  import Testing

  @testable import ActCache

  /// Counts what malloc gives, on all threads, by mtrace(3) of the C library: in a process of its own, which glibc's
  /// debugging library must be loaded into.
  struct AllocationTests {
    /// An unoptimized build allocates at every other call, so this is for release builds.
    private static let library = "/lib/x86_64-linux-gnu/libc_malloc_debug.so.0"
    private static let isTraced = ProcessInfo.processInfo.environment["MALLOC_TRACE"] != nil

    @Test(.enabled(if: FileManager.default.fileExists(atPath: library) && !isTraced))
    func nothingIsAllocatedWhileBatchesFollowEachOther() throws {
      let folder = try TemporaryFolder()
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      process.arguments = ["--testing-library", "swift-testing", "--filter", "AllocationTests/tracedReading"]
      var environment = ProcessInfo.processInfo.environment
      environment["LD_PRELOAD"] = Self.library
      environment["MALLOC_TRACE"] = folder.path + "/trace"
      process.environment = environment
      let output = Pipe()
      process.standardOutput = output
      process.standardError = output
      try process.run()
      let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      #expect(process.terminationStatus == 0, "\(text)")
      let trace = try String(contentsOfFile: folder.path + "/trace", encoding: .utf8).split(separator: "\n")
      #expect(trace.first == "= Start", "\(text)")
      // Lines with + tell of malloc, with < and > of realloc, with - of free.
      let allocations = trace.filter { $0.contains(" + ") || $0.contains(" > ") }
      #expect(allocations.count == 0, "\(allocations.prefix(5).joined(separator: "\n"))")
    }

    @Test(.enabled(if: isTraced)) func tracedReading() throws {
      // The functions of glibc's debugging library are hidden behind those of libc itself, which do nothing.
      typealias Lookup =
        @convention(c) (UnsafeMutableRawPointer, UnsafePointer<CChar>, UnsafePointer<CChar>) ->
        UnsafeMutableRawPointer?
      typealias Function = @convention(c) () -> Void
      let library = try #require(dlopen(Self.library, RTLD_NOW))
      let find = unsafeBitCast(try #require(dlsym(library, "dlvsym")), to: Lookup.self)
      let start = unsafeBitCast(try #require(find(library, "mtrace", "GLIBC_2.2.5")), to: Function.self)
      let stop = unsafeBitCast(try #require(find(library, "muntrace", "GLIBC_2.2.5")), to: Function.self)
      let folder = try TemporaryFolder()
      let small = SmallCache(
        hooks: [
          StreamSpec.hook("a", width: 17, dtype: "bf16"), StreamSpec.hook("b", width: 5, dtype: "f32"),
          StreamSpec.hook("c", width: 4, dtype: "fix:3", steps: [1, 1, 1, 1]),
        ], perShard: 50)
      try small.write(200, to: folder.path)
      // Batches of 24 tokens lie in up to two windows of 32, for each of two readers.
      let sources = try CacheIO.allCases.map { io in
        try TrainingSource(
          CacheReader(path: folder.path, io: io), hooks: ["a", "b", "c"], seed: 1, windowFrames: 4, lookAhead: 3,
          nThreads: 3)
      }
      let readers = try sources.map { source in try [8, 24].map { try TrainingReader(source, batchSize: $0) } }
      var batches = small.hooks.map { hook in [8, 24].map { [Float](repeating: 0, count: $0 * hook.width) } }
      func read(_ steps: Range<Int>) throws {
        for readers in readers {
          for step in steps {
            for (i, reader) in readers.enumerated() {
              for batch in step * 24 / reader.batchSize..<(step + 1) * 24 / reader.batchSize {
                for hook in batches.indices {
                  var output = batches[hook][i].mutableSpan
                  try reader.read(batch: batch, hook: hook, into: &output)
                }
              }
            }
          }
        }
      }
      // Shards are opened and buffers made in the first epoch, of 32 steps; each epoch has a plan of its own.
      try read(0..<38)
      let before = sources.map(\.nDecodedFrames)
      start()
      try read(38..<54)
      // The threads have decoded what comes next: muntrace must not find them in malloc.
      Thread.sleep(forTimeInterval: 0.2)
      stop()
      for (source, n) in zip(sources, before) { #expect(source.nDecodedFrames - n > 100) }
    }
  }
#endif
