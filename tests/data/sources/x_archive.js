window.YTD.tweets.part0 = [
  {
    "tweet" : {
      "id_str" : "1873900000000000002",
      "full_text" : "$ETH down bad again, lost support",
      "created_at" : "Thu Jan 01 00:23:00 +0000 2026",
      "favorite_count" : "4"
    }
  }
]
