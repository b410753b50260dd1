"""Strings that try prompt cleaning and tokenizing: languages, symbols, HTML, mojibake, odd spaces."""

import html.entities
import random

SENTENCES = [
    "A small red circle moves right on a black background.", "Un café très chaud à Paris, où l'été est doux",
    "Schöne Grüße aus München, die Straße ist naß", "El niño corrió rápidamente por la montaña ¿por qué?",
    "Você não está às ordens àquele homem, ação e coração", "Příliš žluťoučký kůň úpěl ďábelské ódy",
    "Zażółć gęślą jaźń", "Árvíztűrő tükörfúrógép", "Ţară şi oraş în România, mâine", "İstanbul'da ığdır ağaç çiçek",
    "Ąžuolas šlama vėjyje, ūkas", "Šķērsiela ģimene ļoti", "Jõe ääres öö", "Þetta er íslenska, ég á hund",
    "Blåbærgrød på ø i åen", "Ελληνικά: η γρήγορη αλεπού πηδάει", "Съешь же ещё этих мягких французских булок",
    "Їжак їсть яблуко, ґанок", "Ђорђе и Љубица, њива, џеп", "Българският език", "Монгол хэл өөр", "Қазақ тілі әдемі",
    "שלום עולם, חתול רץ", "مرحبا بالعالم، قطة تجري في الحديقة", "گربه می‌دود در باغ", "یہ ایک بلی ہے",
    "नमस्ते दुनिया, बिल्ली बगीचे में दौड़ती है", "বিড়াল বাগানে দৌড়ায়", "பூனை தோட்டத்தில் ஓடுகிறது", "పిల్లి తోటలో పరుగెత్తుతుంది",
    "ಬೆಕ್ಕು ತೋಟದಲ್ಲಿ", "പൂച്ച തോട്ടത്തിൽ", "ਬਿੱਲੀ ਬਾਗ ਵਿੱਚ", "બિલાડી બગીચામાં", "බළලා උයනේ", "แมววิ่งในสวน", "ແມວແລ່ນ",
    "ကြောင် ပန်းခြံ", "ឆ្មារត់ក្នុងសួន", "བོད་སྐད་", "კატა ბაღში", "Կատուն այգում", "ድመት በአትክልት", "ᏣᎳᎩ", "ᐃᓄᒃᑎᑐᑦ",
    "一只猫在花园里奔跑，阳光明媚。", "一隻貓在花園裡奔跑；「陽光」！", "猫が庭を走る。ガラスの部屋、ｶﾞﾗｽ", "고양이가 정원에서 달린다",
    "Con mèo chạy trong vườn, ánh nắng rực rỡ", "Kucing berlari di taman", "Paka anakimbia bustanini", "Ọmọ ń sáré ní ọgbà",
    "emoji 🙂😀👩‍👩‍👧‍👦🏳️‍🌈🇩🇪👍🏽 1️⃣ ❤️", "math ∑∫√π≈∞ ½ ² ³ № ™ © ® € £ ¥ ° µ", "Ⅳ ① ㎏ ㍻ ﷺ ﬁ ﬄ ﬆ ĳ ŉ ǆ",
    "…—–‐‑‒―‘’‚‛“”„‟‹›«»•·", "Ｆｕｌｌ　ｗｉｄｔｈ，（ｔｅｘｔ）！？￥１２３", "ﾊﾝｶｸｶﾅ ﾊﾟﾋﾟ ﾡﾢ", "zalgo t̴͇̆e̷̡͝x̵̧̛t̶̰̔",
    "a\u0301e\u0308 \u0301 o\u0328\u0301 q\u0307\u0323 \u1100\u1161\u11a8", "it’s “quoted” text ʼn ‘x’",
    "line\r\nbreak\rhere\u2028and\u2029there\x85end\x0bvt\x0cff", "bom\ufeff zero\u200bwidth\u200c\u200d\u2060 soft\u00adhyphen",
    "\u00a0nbsp\u2003em\u3000ideo\u1680ogham\u202f\u205f\x1c\x1d\x1e\x1f end", "\x1b[31mred\x1b[0m \x1b[1;32mok\x1b[m \x1b[x \x1b]0;t",
    "\x00\x01\x08nul\x7fdel\x80\x9d c1 \x93quoted\x94", "A &amp; B &lt;b&gt; &quot;x&quot; &amp;amp;lt; &nbsp;x",
    "&ampersand &notit; &noti &not; &hellip &EACUTE; &Eacute; &nTILDE; &AMP; &COPY &#x41; &#65 &#128; &#x9f; &#0; &#xD800; &#x110000;",
    "&#59; &#x3b; &#abc; &#12abc; &; &# &#x; &#X41; &#0000065; &CounterClockwiseContourIntegral; &fjlig; &ngE; &acE;",
    "<b>&amp;</b> &lt;", "price <5 &amp; 6\n&amp; next line", "a <pad> b</s> c <unk> <extra_id_0><extra_id_99> <extra_id_007> <s> <extra_id_100>",
    "<0x41> ▁under▁score ▁ <extra_id_-1> <extra_id_> [eod] [web] [code]x", "masterpiece, best quality, (8k:1.2), ultra-detailed, --ar 16:9 {x|y}",
    "x²+y²=z² 10³ 5×5 3÷2 ±1 20°C", "L&apos;été &eacute;t&eacute; &NTILDE;", "C:\\path\\file.txt http://example.com/?a=1&b=2&copy=3",
    "ÀÉÎÕÜ Ø £5 §3 ¶ Ã Â à la", "naïve façade coöperate Ångström smörgåsbord", "ⓐⓑⓒ 𝓯𝓪𝓷𝓬𝔂 𝔊𝔬𝔱𝔥 ｱ ℌ", "( ͡° ͜ʖ ͡°) ¯\\_(ツ)_/¯ (╯°□°)╯︵ ┻━┻",
    "├── src │   └── x", "ǅ ß ſ ﬅ İ ı K Å Ω µ", "\u0958\u0929 \u09cb \u0b4b \u0dda \u1e9b\u0323 \ufb1d \u2126 \uf900 \U0002f800",
]
ENCODINGS = ["latin-1", "sloppy-windows-1252", "sloppy-windows-1251", "sloppy-windows-1250", "sloppy-windows-1253",
             "sloppy-windows-1254", "sloppy-windows-1257", "iso-8859-2", "macroman", "cp437"]
EXTRA = ["’", "“", "”", "…", "—", "é", "à", "🙂", "\u00a0", "€", "™", "ü", "中", "Ж", "ω", "š", "�", "?", " ", "Ã", "Â", "â€œ", "\x1a", "\u00ad", "\ufffd"]


def garble(text, rng):
    """UTF-8 read in a wrong encoding, whole or in part, once or twice, at times with losses."""
    for _ in range(rng.choice([1, 1, 1, 2])):
        try:
            garbled = text.encode("utf-8").decode(rng.choice(ENCODINGS))
        except UnicodeDecodeError:
            continue
        text = garbled
    if rng.random() < 0.3:
        text = text.replace("\xa0", " ")
    if rng.random() < 0.2 and text:
        i = rng.randrange(len(text))
        text = text[:i] + rng.choice(EXTRA) + text[i + rng.choice([0, 1]):]
    return text


def entity(rng):
    name = rng.choice(ENTITIES)
    kind = rng.random()
    if kind < 0.5:
        return "&" + name
    if kind < 0.6:
        return "&" + name.upper()
    if kind < 0.8:
        return "&#%d%s" % (rng.choice([rng.randrange(300), rng.randrange(0x120000)]), rng.choice([";", ""]))
    return "&#x%x%s" % (rng.choice([rng.randrange(300), rng.randrange(0x120000)]), rng.choice([";", ""]))


ENTITIES = sorted(html.entities.html5)
BLOCKS = [(0, 0x80), (0x80, 0x180), (0x180, 0x600), (0x600, 0x1000), (0x1000, 0x2000), (0x2000, 0x2c00), (0x2c00, 0x3100),
          (0x3100, 0xac00), (0xac00, 0xd800), (0xe000, 0xfb00), (0xfb00, 0x10000), (0x10000, 0x11000), (0x1d000, 0x1fb00),
          (0x20000, 0x20100), (0xe0000, 0xe0080)]


def random_points(rng):
    low, high = rng.choice(BLOCKS)
    return "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 30)))


def words(rng):
    parts = rng.choice(SENTENCES).split(" ")
    i = rng.randrange(len(parts))
    return " ".join(parts[i:i + rng.randrange(1, 8)])


def mixed(rng):
    pieces = []
    for _ in range(rng.randrange(1, 5)):
        kind = rng.random()
        if kind < 0.4:
            pieces.append(words(rng))
        elif kind < 0.6:
            pieces.append(garble(words(rng), rng))
        elif kind < 0.75:
            pieces.append(entity(rng))
        elif kind < 0.9:
            pieces.append(rng.choice(EXTRA))
        else:
            pieces.append(random_points(rng))
    return rng.choice(["", " ", "  ", "\n"]).join(pieces)


def strings(count, seed):
    """SENTENCES, each entity, then random ones."""
    rng = random.Random(seed)
    result = list(SENTENCES) + ["x&" + e + "y" for e in ENTITIES] + ["&" + e.upper() for e in ENTITIES]
    makers = [mixed, mixed, random_points, lambda r: garble(r.choice(SENTENCES), r), lambda r: garble(words(r), r),
              lambda r: "".join(r.choice("abÃÂâ€™œ©® éàü¶£ĹŻ×вЂГўΓ†└Ôà Ð\x80\xa0—’?1A.") for _ in range(r.randrange(1, 9)))]
    while len(result) < count:
        result.append(rng.choice(makers)(rng))
    return result[:count]
