"""Twelve kinds of text as chat models write it, for the measurement of seams (``token_seams.py``)."""

PYTHON = '''\
Here is a small CSV parser without any dependency:

```python
from __future__ import annotations

import sys
from dataclasses import dataclass, field


@dataclass
class Parser:
    """Split lines into fields; quotes may hold commas and newlines."""

    delimiter: str = ","
    rows: list[list[str]] = field(default_factory=list)

    def feed(self, text: str) -> None:
        row, cell, quoted = [], "", False
        for i, ch in enumerate(text):
            if ch == '"':
                quoted = not quoted
            elif ch == self.delimiter and not quoted:
                row.append(cell.strip())
                cell = ""
            elif ch == "\\n" and not quoted:
                row.append(cell.strip())
                self.rows.append(row)
                row, cell = [], ""
            else:
                cell += ch

        if cell or row:
            self.rows.append(row + [cell])

    def __len__(self) -> int:
        return len(self.rows)


def main(argv: list[str]) -> int:
    parser = Parser(delimiter=";" if "-s" in argv else ",")
    parser.feed(sys.stdin.read())
    total = sum(len(row) for row in parser.rows)   # all cells
    print(f"{len(parser)} rows, {total:>8,} cells ({total / max(1, len(parser)):.2f} each)")
    if total == 0:
        return 1

    return 0
```

**Note:** `feed()` may be called more than once.
'''

GO = """\
package main

import (
\t"fmt"
\t"os"
\t"sort"
)

// Inventory counts things by name.
type Inventory struct {
\titems map[string]int
\tlimit int
}

func (inv *Inventory) Add(name string, n int) error {
\tif n <= 0 {
\t\treturn fmt.Errorf("count of %q: got %d, want 1 or more", name, n)
\t}
\tif inv.items[name]+n > inv.limit {
\t\treturn fmt.Errorf("no room for %q", name)
\t}

\tinv.items[name] += n
\treturn nil
}

func main() {
\tinv := &Inventory{items: map[string]int{}, limit: 1_000}
\tfor i, name := range os.Args[1:] {
\t\tif err := inv.Add(name, i+1); err != nil {
\t\t\tfmt.Fprintln(os.Stderr, err)
\t\t\tos.Exit(2)
\t\t}
\t}

\tnames := make([]string, 0, len(inv.items))
\tfor name := range inv.items {
\t\tnames = append(names, name)
\t}
\tsort.Strings(names)
\tfor _, name := range names {
\t\tfmt.Printf("%-12s\\t%4d\\n", name, inv.items[name])
\t}
}
"""

JSON = """\
{
  "library": {
    "name": "Biblioteca de São Bento",
    "open": true,
    "since": 1897,
    "rating": 4.75,
    "address": {
      "street": "Rua das Flores 12",
      "zip": "4050-262",
      "geo": [41.1456, -8.6108]
    }
  },
  "books": [
    {
      "id": 1,
      "title": "The Quiet Harbour",
      "authors": ["M. Okafor", "J. de Vries"],
      "tags": ["novel", "sea", "20th century"],
      "price": { "amount": 12.5, "currency": "EUR" },
      "available": null
    },
    {
      "id": 2,
      "title": "Cooking with \\"nothing\\" at all",
      "authors": [],
      "tags": [
        "kitchen",
        "humour"
      ],
      "price": { "amount": 0, "currency": "USD" },
      "available": false
    },
    {
      "id": 3,
      "title": "Línea\\nnueva",
      "authors": ["Ana Díaz"],
      "isbn": "978-3-16-148410-0"
    }
  ],
  "total": 3
}
"""

COMPACT_JSON = (
    '{"items":[{"id":101,"sku":"AB-12/x","qty":3,"price":19.99,"tags":["red","xl"],"meta":{"ok":true,"note":null}},'
    '{"id":102,"sku":"CD-34","qty":0,"price":-1.5e3,"tags":[],"meta":{"ok":false,"note":"a, b; c: \\"d\\""}},'
    '{"id":103,"sku":"EF-56","qty":12,"price":0.001,"tags":["new","sale","50%"],"meta":{}}],'
    '"page":{"number":1,"size":50,"next":"/v1/items?page=2&size=50"},"user":{"name":"Zoë Müller","email":'
    '"zoe@example.com","roles":["admin","editor"],"created":"2025-03-14T09:26:53Z"},"flags":[true,false,null],'
    '"matrix":[[1,0,0],[0,1,0],[0,0,1]],"empty":{},"text":"First line.\\nSecond line.\\tTabbed — and dashed…",'
    '"hash":"9f86d081884c7d659a2feaa0c55ad015","unicode":"\\u00e9\\u4e2d","path":"C:\\\\Users\\\\zoe"}'
)

MARKDOWN = """\
# Moving a service to a new database

Moving data is **never** just copying it. Below is a plan in *three* steps, each with a way back.

## 1. Prepare

- Read the [release notes](https://example.org/notes?v=2#breaking) first.
- Count the rows:
    - `orders` (about 1,200,000)
    - `customers`
- Make a backup:

  ```bash
  pg_dump --format=custom --file="backup-$(date +%F).dump" shop
  ls -lh *.dump | awk '{ print $5, $9 }'
  ```

## 2. Copy

| Step | Command | Time | Risk |
|:-----|:-------:|-----:|------|
| Schema | `migrate up` | 5 s | low |
| Data | `copy --jobs 4` | 2 h | *medium* |
| Check | `diff --all` | 20 min | low |

> **Warning:** do not write to the old database while step 2 runs.
> It would be lost.

### 2.1 If it fails

1. Stop at once.
2. Look at the log; the last line says why.
3. Start again from the last good table.

---

## 3. Switch

When everything is equal, set `DATABASE_URL` and restart. ~~Delete the old one.~~ Keep it for 30 days!

- [x] backup
- [ ] switch
"""

YAML = """\
# A small deployment
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web, tier: "front"}
spec:
  replicas: 3
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
        - name: nginx
          image: "nginx:1.27.3"
          ports:
            - containerPort: 8080
              protocol: TCP
          env:
            - name: GREETING
              value: 'it''s "fine"'
            - name: EMPTY
              value: ""
          resources:
            limits: {cpu: 500m, memory: 256Mi}
          command: ["sh", "-c"]
          args:
            - |
              set -eu
              echo "starting"

              exec nginx -g 'daemon off;'
      volumes: []
---
on:
  push:
    branches: [main, 'release/**']
  schedule:
    - cron: '30 5 * * 1-5'
"""

PROSE = """\
The lighthouse keeper had not spoken to anyone for eleven days. It wasn't that she minded; silence, she used to say, \
"is only a room with the door shut." On the twelfth morning the supply boat came early — and with it a letter.

"You'll want to sit down," said the boatman. He didn't meet her eyes.

She did not sit. She opened it with her thumb, read it twice, and put it in her coat. Outside, the sea went on: \
grey, green, grey again. At 6:45 a.m. the lamp would have to be cleaned; at 7:00 the log would have to be written. \
Dr. Ellison's name (misspelled, as always) stood on the last line, next to a date: 3 March 1931.

How does one answer such a thing?  One doesn't, perhaps. One counts the steps (there were 217), and wipes the glass, \
and waits... The rest of the world — its trains, its quarrels, its well-meant letters — could wait too.

By evening the wind had turned. "Well," she said to no one, "that's that, then!" And she laughed, for the first time \
since autumn, because it was true.

                                   * * *

Years later they'd ask her grandson about it. He'd shrug and say: 'She never told us; she just kept the light.'
"""

HTML = """\
<!DOCTYPE html>
<html lang="en">
<head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Sign in &ndash; Example</title>
    <style>
        body { font-family: system-ui, sans-serif; margin: 0 auto; max-width: 40em; }
        .error { color: #c00; padding: .5rem 1rem; }
        @media (max-width: 600px) { form { width: 100%; } }
    </style>
</head>
<body>
    <!-- the form -->
    <form action="/login" method="post" id="login-form">
        <label for="email">E-mail</label>
        <input type="email" id="email" name="email" required autofocus>

        <label for="password">Password</label>
        <input type="password" id="password" name="password" minlength="8" required>

        <p class="error" hidden>Wrong e-mail or password. <a href="/reset?from=login">Forgot it?</a></p>
        <button type="submit" class="btn btn-primary">Sign in</button>
    </form>
    <ul>
        <li><a href="#a">A</a></li>
        <li>B &amp; C</li>
    </ul>
    <script>
        document.querySelector("#login-form").addEventListener("submit", (event) => {
            const mail = event.target.email.value.trim();
            if (!/^[^@]+@[^@]+$/.test(mail)) {
                event.preventDefault();
                document.querySelector(".error").hidden = false;
            }
        });
    </script>
</body>
</html>
"""

CHINESE = """\
# 长城的历史

长城是中国古代的伟大工程，全长约21,196公里。它的修建始于公元前7世纪，历经春秋、战国、秦、汉、明等多个朝代。

## 一、早期的城墙

最早的长城由诸侯国修建，目的是“防御外敌”。公元前221年，秦始皇统一六国后，把各段城墙连接起来，并派大将蒙恬率领30万士兵北击匈奴。

1. **秦长城**：西起临洮，东至辽东；
2. **汉长城**：总长度超过一万公里，是历史上最长的；
3. **明长城**：保存最完整（例如：八达岭、慕田峪）。

## 二、今天的意义

如今，长城已成为世界文化遗产（1987年）。每年约有1000万游客前来参观……有人问：“从月球上能看到长城吗？”答案是：不能！

- 门票：40元（学生半价）
- 开放时间：6:30–19:00
- 网址：https://example.cn/长城

总之，长城不仅是一道墙，更是一种精神的象征。它见证了两千多年的风雨，也见证了人们对和平的向往。
"""

CSV = '''\
id,name,city,date,amount,note
1,"Okafor, Mary",Lagos,2024-01-05,1250.00,"first order"
2,Jan de Vries,Den Haag,2024-01-07,89.9,
3,"O'Neill, Sean",Cork,2024-01-07,-12.50,"refund; see #2"
4,Zoë Müller,Zürich,2024-02-29,100000,"said ""soon"""
5,李雷,北京,2024-03-01,0,"VIP, 老客户"
6,Ana Díaz,Málaga,2024-03-15,42,""
7,,,2024-03-16,,
8,Nguyễn Văn A,Hà Nội,2024-04-01,1_000,ok

planet\tmass (10^24 kg)\tmoons\tdistance (AU)
Mercury\t0.330\t0\t0.39
Venus\t4.87\t0\t0.72
Earth\t5.97\t1\t1.00
Mars\t0.642\t2\t1.52
Jupiter\t1898\t95\t5.20

Name      | Score | Share
----------+-------+------
alpha     |    12 |  4.1%
beta      |   180 | 61.0%
gamma     |   103 | 34.9%
'''

EMOJI = """\
Here are 10 ideas for a rainy day 🌧️:

1. 📚 **Read** a book you've already read — it's like meeting an old friend!
2. 🍳 Cook something *new*: shakshuka, pho, or pierogi 🥟
3. 🧩 Do a puzzle (500+ pieces 😅)
4. 👩‍🚀 Watch a documentary about space 🚀✨
5. 🏳️‍🌈 Paint the window with all colours
6. 💌 Write a letter to someone in 🇧🇷, 🇯🇵 or 🇳🇴
7. 🎧 Make a playlist → share it ✅
8. 🧘🏽 Stretch for 15 minutes…
9. 🌱 Repot your plants 🪴🪴🪴
10. 😴 Sleep!!!

✅ Pros: cheap, calm, warm
❌ Cons: you stay inside 🤷‍♂️

⭐⭐⭐⭐☆ (4/5)

• First point → “quoted”
• Second point ≠ third point
◦ price ≤ €20 · £17 · ¥3,000
♥ thanks!   👋
"""

SCRIPTS = """\
**العربية:** القاهرة هي عاصمة مصر، وأكبر مدنها. عدد سكانها حوالي ١٠ ملايين نسمة؛ أليس كذلك؟ نعم، "كبيرة جداً".

**हिन्दी:** भारत एक विशाल देश है। यहाँ की राजधानी नई दिल्ली है, और जनसंख्या लगभग 140 करोड़ है।

**日本語:** 東京は日本の首都です。人口は約1,400万人で、「世界一の大都市」とも呼ばれています。ラーメンが美味しい！

**한국어:** 서울은 대한민국의 수도이다. 한강이 도시를 가로질러 흐르며, 인구는 약 940만 명이다.

**Русский:** Москва — столица России; её население — более 13 млн человек. «Кто там?» — спросил он.

**Ελληνικά:** Η Αθήνα είναι η πρωτεύουσα της Ελλάδας· έχει περίπου 3.000.000 κατοίκους.

**ไทย:** กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย มีประชากรประมาณ 10 ล้านคน

**עברית:** ירושלים היא עיר הבירה של ישראל, ובה כ-980,000 תושבים.

**Français :** « L’été », dit-elle, n’était qu’un souvenir ; où êtes-vous allés ?

**Tiếng Việt:** Hà Nội là thủ đô của Việt Nam, với hơn 8 triệu người dân.
"""

TEXTS = {
    "Python": PYTHON,
    "Go": GO,
    "JSON": JSON,
    "compact JSON": COMPACT_JSON,
    "Markdown": MARKDOWN,
    "YAML": YAML,
    "prose": PROSE,
    "HTML": HTML,
    "Chinese": CHINESE,
    "CSV": CSV,
    "emoji": EMOJI,
    "scripts": SCRIPTS,
}
