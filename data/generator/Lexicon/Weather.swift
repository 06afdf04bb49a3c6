/// A kind of weather: how it is told, what it does, what one says about it.
struct Weather {
  var name: String
  var openings: [String]
  var effects: [String]
  /// Words for speech: "this rain".
  var phrase: String
}

let weathers = [
  Weather(
    name: "rain",
    openings: [
      "It <be> a [rainy/weather=rain] {time}.", "[Rain/weather=rain] <fall> from a gray sky.",
      "Dark [clouds/weather=rain] <hang+> over {P}.",
    ],
    effects: [
      "Big drops of [rain/weather] <drum+> on the roofs.", "Soon the road <be> full of puddles.",
      "Everything <get> wet.",
    ], phrase: "this [rain/weather]"),
  Weather(
    name: "snow",
    openings: [
      "It <be> a [snowy/weather=snow] {time}.", "[Snow/weather=snow] <lie> on every roof.",
      "White [flakes/weather=snow] <float+> down.",
    ],
    effects: [
      "The [snow/weather] <crunch> at every step.", "Soon the whole world <be> white and still.",
      "The [cold/sense=cold.weather] <bite>.",
    ], phrase: "this [snow/weather]"),
  Weather(
    name: "wind",
    openings: [
      "It <be> a [windy/weather=wind] {time}.", "A strong [wind/weather] <blow> over {P}.",
      "The [wind/weather] <pull> at the trees.",
    ],
    effects: [
      "[Leaves/sense=leaves.plant] <whirl+> through the air.", "The [wind/weather] <howl> like a wolf.",
      "Hats and papers <fly+> down the road.",
    ], phrase: "this [wind/weather]"),
  Weather(
    name: "sun",
    openings: [
      "It <be> a [sunny/weather=sun] {time}.", "The [sun/weather] <shine> [bright/sense=bright.light] and warm.",
      "There <be> not a cloud in the [blue/color] sky.",
    ],
    effects: [
      "The stones <be+> warm from the [sun/weather].", "The [light/sense=light.lamp] <dance> on every window.",
      "It <get> hotter and hotter.",
    ], phrase: "such [sunshine/weather=sun]"),
  Weather(
    name: "fog",
    openings: [
      "It <be> a [foggy/weather=fog] {time}.", "Thick [fog/weather] <lie> over {P}.",
      "The [fog/weather] <be> as thick as soup.",
    ],
    effects: [
      "Nobody <can> see more than [three/number=3] steps ahead.", "Every sound <be> soft and strange.",
      "The trees <look+> like gray giants.",
    ], phrase: "this [fog/weather]"),
  Weather(
    name: "storm",
    openings: [
      "A [storm/weather] <be> coming.", "It <be> a [stormy/weather=storm] {time}.",
      "[Thunder/weather=storm] <roll> over {P}.",
    ],
    effects: [
      "[Lightning/weather=storm] <cut> through the dark sky.", "The [thunder/weather=storm] <shake> the windows.",
      "Branches <fall+> from the trees.",
    ], phrase: "this [storm/weather]"),
]

let timesOfDay = ["morning", "afternoon", "evening"]

let seasons = [
  "[spring/sense=spring.season]", "summer", "[fall/sense=fall.season]", "winter",
]
