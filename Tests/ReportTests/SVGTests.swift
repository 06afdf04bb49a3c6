import Foundation
import Report
import TestSupport
import Testing

@Suite struct SVGTests {
  private let work = SVGKind("model", colour: "#0072b2")
  private let wait = SVGKind("waits", colour: SVGKind.pale)

  @Test func aTimelineIsDrawnExactly() {
    let lane = SVGTimeline.Lane(
      name: "model", note: "75 % busy",
      spans: [SVGTimeline.Span(work, from: 1, to: 1.75), SVGTimeline.Span(wait, from: 1.75, to: 2)])
    let timeline = SVGTimeline(title: "Harvest", lanes: [lane])
    #expect(timeline.seconds == 1..<2 && timeline.height == 100)
    #expect(
      timeline.elements(width: 340) == [
        #"<text x="0" y="14" font-size="14" font-weight="bold">Harvest</text>"#,
        ##"<rect x="0" y="24" width="12" height="12" fill="#0072b2"/>"##,
        #"<text x="16" y="34">model</text>"#,
        ##"<rect x="65" y="24" width="12" height="12" fill="#dddddd"/>"##,
        #"<text x="81" y="34">waits</text>"#,
        #"<text x="102" y="64" text-anchor="end">model</text>"#,
        ##"<rect x="110" y="48" width="75" height="22" fill="#0072b2"><title>model: 750.00 ms</title></rect>"##,
        ##"<rect x="185" y="48" width="25" height="22" fill="#dddddd"><title>waits: 250.00 ms</title></rect>"##,
        #"<text x="218" y="64">75 % busy</text>"#,
        ##"<line x1="110" y1="78" x2="210" y2="78" stroke="#555"/>"##,
        ##"<text x="110" y="92" text-anchor="start" fill="#555">0.000 s</text>"##,
        ##"<text x="160" y="92" text-anchor="middle" fill="#555">0.500 s</text>"##,
        ##"<text x="210" y="92" text-anchor="end" fill="#555">1.000 s</text>"##,
      ])
  }

  @Test func aNoteMovesWhatIsBelowIt() {
    let bars = SVGBars(title: "a", note: "b", rows: [SVGBars.Row(label: "c", parts: [(work, 1)], caption: "")])
    #expect(bars.height == 66)
    #expect(
      bars.elements(width: 560).prefix(3) == [
        #"<text x="0" y="14" font-size="14" font-weight="bold">a</text>"#,
        ##"<text x="0" y="32" fill="#555">b</text>"##, #"<text x="242" y="56" text-anchor="end">c</text>"#,
      ])
  }

  @Test func whatLiesOutsideTheStretchIsCutOff() {
    let lane = SVGTimeline.Lane(
      name: "", note: "", spans: [(0.0, 1.0), (1, 3), (3, 4)].map { SVGTimeline.Span(work, from: $0.0, to: $0.1) })
    let drawn = SVGTimeline(title: "", lanes: [lane], seconds: 1..<2).elements(width: 340).filter {
      $0.contains("<title>")
    }
    #expect(drawn.count == 1 && drawn[0].contains(#"x="110" y="48" width="100""#))
  }

  @Test func barsAreStackedOnOneScale() {
    let bars = SVGBars(
      title: "Step",
      rows: [
        SVGBars.Row(label: "live", parts: [(work, 3), (wait, 1)], caption: "4 s", spread: 3.5...5),
        SVGBars.Row(label: "cached", parts: [(work, 2)], caption: "2 s"),
      ])
    #expect(bars.height == 92)
    let lines = bars.elements(width: 560)
    #expect(
      lines.filter { $0.hasPrefix("<rect") && $0.contains("<title>") } == [
        ##"<rect x="250" y="48" width="60" height="16" fill="#0072b2"><title>model</title></rect>"##,
        ##"<rect x="310" y="48" width="20" height="16" fill="#dddddd"><title>waits</title></rect>"##,
        ##"<rect x="250" y="70" width="40" height="16" fill="#0072b2"><title>model</title></rect>"##,
      ])
    #expect(lines.contains(##"<line x1="320" y1="56" x2="350" y2="56" stroke="#000"/>"##))
    #expect(lines.contains(#"<text x="356" y="60">4 s</text>"#), "the caption stands beyond the spread")
  }

  @Test func anEmptyPictureIsDrawnExactly() {
    let picture = SVGPicture(title: "Is it the disk?", notes: ["2 threads"])
    #expect(
      picture.svg == """
        <?xml version="1.0" encoding="UTF-8"?>
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 78" font-family="sans-serif" font-size="12">
        <rect x="0" y="0" width="960" height="78" fill="#fff"/>
        <text x="24" y="40" font-size="18" font-weight="bold">Is it the disk?</text>
        <text x="24" y="58" fill="#555">2 threads</text>
        </svg>

        """)
  }

  @Test func picturesAreWellFormedWhateverTheTextsAre() {
    let nasty = "a<b & \"c\" > 'd' \u{1} ‖x‖²"
    var picture = SVGPicture(title: nasty, notes: [nasty])
    picture.add(
      SVGTimeline(
        title: nasty,
        lanes: [.init(name: nasty, note: nasty, spans: [.init(SVGKind(nasty, colour: "#000"), from: 0, to: .nan)])]))
    picture.add(SVGTimeline(title: nasty, lanes: []))
    picture.add(SVGBars(title: nasty, rows: []))
    picture.add(
      SVGBars(
        title: nasty,
        rows: [SVGBars.Row(label: nasty, parts: [(work, .infinity), (wait, -1), (wait, 0)], caption: nasty)]))
    #expect(isWellFormedXML(picture.svg))
    #expect(isWellFormedXML(picture.html))
    #expect(!isWellFormedXML(picture.svg.replacingOccurrences(of: "</g>", with: "")), "the check can fail")
    #expect(!picture.html.contains("<script") && !picture.html.contains("href"))
  }
}
