import Measure
import TestSupport
import Testing

@Suite struct StorageErrorTests {
  @Test func itIsErrorEnergyOverVarianceOfAllAndOfTheWorstChannel() {
    // Channel 0: values 0, 2, 4 about 2, variance 8; channel 1: 1, 1, 4 about 2, variance 6; errors 1, 0, 0 and 0, 2, 0.
    let error = StorageError([0, 1, 2, 1, 4, 4], [1, 1, 2, 3, 4, 4], width: 2)
    #expect(abs(error.fvu - 5.0 / 14) < 1e-12 && error.worstChannel == 1)
    #expect(abs(error.worstChannelFVU - 4.0 / 6) < 1e-12)
  }

  @Test func whatIsStoredExactlyHasNone() {
    var generator = SeededGenerator(seed: 1)
    let values = generator.floats(30)
    let error = StorageError(values, values, width: 3)
    #expect(error.fvu == 0 && error.worstChannelFVU == 0)
  }

  @Test func channelsThatNeverMoveAndNoRowsAtAllAreNoError() {
    #expect(StorageError([1, 2, 1, 2], [1, 2, 1, 2], width: 2).fvu == 0)
    #expect(StorageError([], [], width: 2).fvu == 0)
  }

  @Test func rowsThatWereNotStoredDoNotCount() {
    #expect(StorageError([0, 2, 100], [0, 2], width: 1).fvu == 0)
  }
}
