// swift-tools-version: 6.2
// Targets are listed bottom-up, in the order of the arrows in docs/design.md.
import PackageDescription

let language: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
]
let safe = language + [.strictMemorySafety()]
/// The kernels use every vector extension of the machine that builds them; the program checks at start that it
/// runs on such a machine.
let native = language + [.unsafeFlags(["-Xcc", "-march=native", "-Xcc", "-mtune=native", "-target-cpu", "native"])]

let package = Package(
  name: "actcache",
  platforms: [.macOS(.v15)],
  products: [
    .executable(name: "actcache", targets: ["CLI"]),
    .library(name: "ActCache", targets: ["ActCache"]),
    .library(name: "Memory", targets: ["Memory"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .target(name: "Memory", swiftSettings: safe),
    .target(name: "LinearAlgebra", dependencies: ["Memory", "COpenBLAS"], swiftSettings: native),
    .target(name: "Tokenizer", swiftSettings: safe),
    .target(
      name: "Transformer",
      dependencies: ["LinearAlgebra", "Memory", .product(name: "Crypto", package: "swift-crypto")],
      swiftSettings: safe),
    .target(
      name: "ActCache", dependencies: ["Memory", "CZstd", .product(name: "Crypto", package: "swift-crypto")],
      swiftSettings: safe),
    .target(name: "SAE", dependencies: ["LinearAlgebra", "Memory"], swiftSettings: safe),
    .target(
      name: "Harvest", dependencies: ["Tokenizer", "Transformer", "ActCache", "LinearAlgebra", "Memory"],
      swiftSettings: safe),
    .target(
      name: "Train",
      dependencies: [
        "SAE", "Transformer", "ActCache", "LinearAlgebra", "Memory", .product(name: "Yams", package: "Yams"),
      ],
      swiftSettings: safe),
    .target(
      name: "Evaluate", dependencies: ["SAE", "Transformer", "ActCache", "LinearAlgebra", "Memory"],
      swiftSettings: safe),
    .target(name: "Report", dependencies: ["Memory"], swiftSettings: safe),
    .target(
      name: "Measure",
      dependencies: [
        "Harvest", "Train", "Report", "Tokenizer", "SAE", "Transformer", "ActCache", "LinearAlgebra", "Memory",
      ],
      swiftSettings: safe),
    .executableTarget(
      name: "CLI",
      dependencies: [
        "Harvest", "Train", "Evaluate", "Measure", "Report",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: safe),
    .executableTarget(
      name: "StoryGenerator",
      dependencies: [.product(name: "ArgumentParser", package: "swift-argument-parser")],
      path: "data/generator", swiftSettings: safe),
    .testTarget(name: "StoryGeneratorTests", dependencies: ["StoryGenerator"], swiftSettings: safe),
    .target(name: "TestSupport", dependencies: ["Memory"], path: "Tests/TestSupport", swiftSettings: language),
    .testTarget(name: "MemoryTests", dependencies: ["Memory", "TestSupport"], swiftSettings: language),
    .testTarget(
      name: "TransformerTests", dependencies: ["Transformer", "LinearAlgebra", "Memory", "TestSupport"],
      exclude: ["Fixtures"], swiftSettings: language),
    .testTarget(
      name: "ActCacheTests",
      dependencies: [
        "ActCache", "LinearAlgebra", "Memory", "TestSupport", .product(name: "Crypto", package: "swift-crypto"),
      ],
      exclude: ["Fixtures"], swiftSettings: language),
    .testTarget(
      name: "HarvestTests",
      dependencies: ["Harvest", "ActCache", "Transformer", "LinearAlgebra", "Memory", "TestSupport"],
      swiftSettings: language),
    .testTarget(
      name: "LinearAlgebraTests", dependencies: ["LinearAlgebra", "TestSupport"], exclude: ["Fixtures"],
      swiftSettings: language),
    .testTarget(
      name: "SAETests", dependencies: ["SAE", "LinearAlgebra", "Memory", "TestSupport"], swiftSettings: language),
    .testTarget(
      name: "TrainTests",
      dependencies: ["Train", "SAE", "Harvest", "Transformer", "ActCache", "LinearAlgebra", "Memory", "TestSupport"],
      exclude: ["Fixtures"], swiftSettings: language),
    .testTarget(
      name: "EvaluateTests",
      dependencies: ["Evaluate", "Train", "SAE", "Harvest", "Transformer", "ActCache", "LinearAlgebra", "TestSupport"],
      swiftSettings: language),
    .testTarget(
      name: "MeasureTests",
      dependencies: [
        "Measure", "Harvest", "Train", "Report", "SAE", "Transformer", "ActCache", "LinearAlgebra", "Memory",
        "TestSupport",
      ], swiftSettings: language),
    .testTarget(name: "CLITests", dependencies: ["CLI", "TestSupport"], swiftSettings: language),
    .testTarget(name: "ReportTests", dependencies: ["Report", "TestSupport"], swiftSettings: language),
    .testTarget(
      name: "TokenizerTests", dependencies: ["Tokenizer"], exclude: ["Fixtures"], swiftSettings: language),
  ],
  swiftLanguageModes: [.v6]
)
