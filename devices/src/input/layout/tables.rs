//! What the keys of layouts make, made by `scripts/keyboard-layouts` from xkeyboard-config. Each layout has four rows: alone,
//! with Shift, with AltGr, with both. A combining character stands for the dead key that adds it, a space for nothing.
//!
//! xkeyboard-config is under permissive licences of the X Window System (HPND, MIT, X11); taken is only which symbol is on which key.

use super::Table;

/// All layouts by name.
#[rustfmt::skip]
pub(super) const TABLES: [Table; 33] = [
    Table { name: "at", rows: [
        "\u{302}1234567890ß\u{301}qwertzuiopü+asdfghjklöä#<yxcvbnm,.-",
        "°!\"§$%&/()=?\u{300}QWERTZUIOPÜ*ASDFGHJKLÖÄ'>YXCVBNM;:_",
        "′¹²³¼½¬{[]}\\\u{327}@ €¶ŧ←↓→øþ\u{308}~æſðđŋħ\u{323}ĸł\u{30b} ’|»«¢„“”µ·…–",
        "″¡⅛£¤⅜⅝⅞™± ¿\u{328}Ω €®Ŧ¥↑ıØÞ\u{30a}¯ÆẞÐªŊĦ\u{307} Ł\u{323}\u{30c}\u{306} ›‹©‚‘ º×÷—",
    ] },
    Table { name: "be", rows: [
        "²&é\"'(§è!çà)-azertyuiop\u{302}$qsdfghjklmùµ<wxcvbn,;:=",
        "³1234567890°_AZERTYUIOP\u{308}*QSDFGHJKLM%£>WXCVBN?./+",
        " |@#¼½^  {}   ſ€¶ŧ←↓→œþ[]æßðđŋħ\u{309}ĸł \u{301}\u{300}\\«» „“”\u{327}•·\u{303}",
        " ¡⅛ $⅜⅝⅞™± ¿\u{328}Ω ¢®Ŧ¥↑ıŒÞ\u{30a}\u{304}ÆẞÐªŊĦ\u{31b} Ł\u{30b}\u{30c}\u{306}\\  ©‚‘’º×÷\u{307}",
    ] },
    Table { name: "br", rows: [
        "'1234567890-=qwertyuiop\u{301}[asdfghjklç\u{303}]\\zxcvbnm,.;/",
        "\"!@#$%\u{308}&*()_+QWERTYUIOP\u{300}{ASDFGHJKLÇ\u{302}}|ZXCVBNM<>:?",
        " ¹²³£¢¬     §/?°®ŧ←↓→øþ´ªæßðđŋħ\u{309}ĸł ~º\u{30c}«»©„“” •·\u{323}°",
        " ¡½¾¼⅜¨⅞™±  \u{328}/?° Ŧ¥↑ıØÞ`\u{304}ÆẞÐ ŊĦ\u{31b} Ł\u{30b}^º\u{306}   ‚‘’µ×÷\u{307}¿",
    ] },
    Table { name: "ca", rows: [
        "#1234567890-=qwertyuiop\u{302}\u{327}asdfghjkl;\u{300}<«zxcvbnm,.é",
        "|!\"/$%?&*()_+QWERTYUIOP\u{302}\u{308}ASDFGHJKL:\u{300}>»ZXCVBNM'.É",
        "\\±@£¢¤¬¦²³¼½¾        §¶[]         ~{}°      µ¯ \u{301}",
        "",
    ] },
    Table { name: "ch", rows: [
        "§1234567890'\u{302}qwertzuiopü\u{308}asdfghjklöä$<yxcvbnm,.-",
        "°+\"*ç%&/()=?\u{300}QWERTZUIOPè!ASDFGHJKLéà£>YXCVBNM;:_",
        " |@#¼½¬|¢  \u{301}\u{303} ſ€¶ŧ←↓→œþ[]æßðđŋħ\u{309}ĸł {}\\«» „“”µ•·\u{323}",
        " ¡⅛ $⅜⅝⅞™± ¿\u{328}Ω  ®Ŧ¥↑ıŒÞ\u{30a}\u{304}ÆẞÐªŊĦ\u{31b} Ł\u{30b}\u{30c}\u{306}¦  ©‚‘’º×÷\u{307}",
    ] },
    Table { name: "ch-fr", rows: [
        "§1234567890'\u{302}qwertzuiopè\u{308}asdfghjkléà$<yxcvbnm,.-",
        "°+\"*ç%&/()=?\u{300}QWERTZUIOPü!ASDFGHJKLöä£>YXCVBNM;:_",
        " |@#¼½¬|¢  \u{301}\u{303} ſ€¶ŧ←↓→œþ[]æßðđŋħ\u{309}ĸł {}\\«» „“”µ•·\u{323}",
        " ¡⅛ $⅜⅝⅞™± ¿\u{328}Ω  ®Ŧ¥↑ıŒÞ\u{30a}\u{304}ÆẞÐªŊĦ\u{31b} Ł\u{30b}\u{30c}\u{306}¦  ©‚‘’º×÷\u{307}",
    ] },
    Table { name: "cz", rows: [
        ";+ěščřžýáíé=\u{301}qwertzuiopú)asdfghjklů§\u{308}\\yxcvbnm,.-",
        "\u{30a}1234567890%\u{30c}QWERTZUIOP/(ASDFGHJKL\"!'|YXCVBNM?:_",
        "`!@#$%^&*{  \u{304}\\|€¶ŧ←↓→øþ[]~đĐ[]`'łŁ$'\\/°#&@{}^<>*",
        "~\u{303}\u{30c}\u{302}\u{306}\u{30a}\u{328}\u{300}\u{307}\u{301}\u{30b}\u{308}\u{327}Ω  ®Ŧ¥↑ıØÞ÷×ÆẞÐªŊĦ\u{31b}   ß|¦  ©‚‘’º",
    ] },
    Table { name: "de", rows: [
        "\u{302}1234567890ß\u{301}qwertzuiopü+asdfghjklöä#<yxcvbnm,.-",
        "°!\"§$%&/()=?\u{300}QWERTZUIOPÜ*ASDFGHJKLÖÄ'>YXCVBNM;:_",
        "′¹²³¼½¬{[]}\\\u{327}@ €¶ŧ←↓→øþ\u{308}~æſðđŋħ\u{323}ĸł\u{30b} ’|»«¢„“”µ·…–",
        "″¡⅛£¤⅜⅝⅞™± ¿\u{328}Ω €®Ŧ¥↑ıØÞ\u{30a}¯ÆẞÐªŊĦ\u{307} Ł\u{323}\u{30c}\u{306} ›‹©‚‘ º×÷—",
    ] },
    Table { name: "dk", rows: [
        "½1234567890+\u{301}qwertyuiopå\u{308}asdfghjklæø'<zxcvbnm,.-",
        "§!\"#¤%&/()=?\u{300}QWERTYUIOPÅ\u{302}ASDFGHJKLÆØ*>ZXCVBNM;:_",
        "¾¡@£$ ¥{[]}±| ſ€®þ←↓→œ  \u{303}ªßðđŋħ\u{309}ĸł  \u{30b}\\  ©„“”µ\u{327}·\u{323}",
        "¶¹²³¼¢⅝÷«»°¿¦Ω ¢ Þ ↑ıŒ \u{30a}\u{30c}ºẞÐ ŊĦ\u{31b} Ł  ×¬   ‚‘’ \u{328}\u{307}",
    ] },
    Table { name: "ee", rows: [
        "\u{30c}1234567890+\u{301}qwertyuiopüõasdfghjklöä'<zxcvbnm,.-",
        "\u{303}!\"#¤%&/()=?\u{300}QWERTYUIOPÜÕASDFGHJKLÖÄ*>ZXCVBNM;:_",
        " ¹@£$ ¬{[]}\\` ſ€¶ŧ←↓→øþ\u{308}§æšðđŋħ\u{309}ĸł ^½ ž» „“”µ<>|",
        " ¡⅛ $⅜⅝⅞™±°¿'Ω ¢®Ŧ¥↑ıØÞ\u{30a}\u{304}ÆŠÐªŊĦ\u{31b} Ł\u{30b} \u{306}¦Ž ©‚‘’º×÷˙",
    ] },
    Table { name: "es", rows: [
        "º1234567890'¡qwertyuiop\u{300}+asdfghjklñ\u{301}ç<zxcvbnm,.-",
        "ª!\"·$%&/()=?¿QWERTYUIOP\u{302}*ASDFGHJKLÑ\u{308}Ç>ZXCVBNM;:_",
        "\\|@#~½¬     \u{327} ſ€¶ŧ←↓→øþ[]æßðđŋħ\u{309}ĸł\u{303}{} «» „“”µ• \u{323}",
        "\\ ⅛£ ⅜⅝⅞™±° \u{328}Ω§¢®Ŧ¥↑ıØÞ\u{30a}\u{304}ÆẞÐ ŊĦ\u{31b} Ł\u{30b}\u{30c}\u{306}¦  ©‚‘’ ×÷\u{307}",
    ] },
    Table { name: "fi", rows: [
        "§1234567890+\u{301}qwertyuiopå\u{308}asdfghjklöä'<zxcvbnm,.-",
        "½!\"#¤%&/()=?\u{300}QWERTYUIOPÅ\u{302}ASDFGHJKLÖÄ*>ZXCVBNM;:_",
        "  @£$‰‚{[]}\\\u{327}  € þ  ıœ\u{31b}\u{30b}\u{303}əßð    ĸ øæ\u{30c} ʒ×   ŋµ’\u{323}–",
        " ¡”»«“„ <>°¿\u{328}    Þ  |Œ\u{309}\u{30a}\u{304}ƏẞÐ      ØÆ\u{306}¦Ʒ·   Ŋ—‘\u{307}",
    ] },
    Table { name: "fr", rows: [
        "²&é\"'(-è_çà)=azertyuiop\u{302}$qsdfghjklmù*<wxcvbn,;:!",
        "~1234567890°+AZERTYUIOP\u{308}£QSDFGHJKLM%µ>WXCVBN?./§",
        " ¹~#{[|`\\^@]}æ«€¶ŧ←↓→øþ ¤@ßðđŋħ\u{309}ĸ µ \u{300} ł» „“”\u{301}•·\u{323}",
        " ¡⅛ $⅜⅝⅞™± ¿\u{328}Æ<¢®Ŧ¥↑ıØÞ\u{30a}\u{304}ΩẞÐªŊĦ\u{31b}  º\u{30c}\u{306}¦Ł ©‚‘’\u{30b}×÷\u{307}",
    ] },
    Table { name: "gb", rows: [
        "`1234567890-=qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./",
        "¬!\"£$%^&*()_+QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>?",
        "|¹²³€½¾     \u{327} ſ ¶ŧ←↓→øþ\u{308}\u{303}æßðđŋħ\u{309}ĸł\u{301}\u{302}\u{300} «»¢„“”µ•·\u{323}",
        "|¡⅛ ¼⅜⅝⅞™±°¿\u{328}Ω§ ®Ŧ¥↑ıØÞ\u{30a}\u{304}ÆẞÐªŊĦ\u{31b} Ł\u{30b}\u{30c}\u{306}¦  ©‚‘’º×÷\u{307}",
    ] },
    Table { name: "hr", rows: [
        "`1234567890'+qwertzuiopšđasdfghjklčćž<yxcvbnm,.-",
        "~!\"#$%&/()=?*QWERTZUIOPŠĐASDFGHJKLČĆŽ>YXCVBNM;:_",
        " ~\u{30c}^\u{306}°\u{328}`\u{307}\u{301}\u{30b}\u{308}\u{327}\\|€¶ŧ←↓→øþ÷×æ„”[]ħ\u{309}ł  ß¤ ‘’¢@{}§<>\u{323}",
        " \u{303}ˇ\u{302}˘\u{30a}˛\u{300}˙'˝¨¸ΩŁ€®Ŧ¥↑ıØÞ \u{304}Æ»«ªŊĦ\u{31b}     ¦»«©`'}º",
    ] },
    Table { name: "hu", rows: [
        "0123456789öüóqwertzuiopőúasdfghjkléáűíyxcvbnm,.-",
        "§'\"+!%/=()ÖÜÓQWERTZUIOPŐÚASDFGHJKLÉÁŰÍYXCVBNM?:_",
        " ~\u{30c}^\u{306}\u{30a}\u{328}`\u{307}\u{301}\u{30b}\u{308}\u{327}\\|Ä¶ŧ–€Í„”÷×äđĐ[]ħíłŁ$ß¤<>#&@{}<;>*",
        " \u{303}ˇ\u{302}˘°˛\u{300}˙´˝¨¸Ω  ®Ŧ¥↑íØÞ \u{304}Ä ÐªŊĦÍ  ¢ẞ >  ©‚‘’º",
    ] },
    Table { name: "ie", rows: [
        "`1234567890-=qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./",
        "¬!\"£$%^&*()_+QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>?",
        "¦¡™©€§\u{302}¶\u{308}ªº–≠œ\u{307}é®þ¥úíó‚“‘áßðƒ©\u{307}ı\u{30a}´…æ«\u{300}⟨×\u{327}\u{30c}¨\u{303}¯≤≥÷",
        " ¹²³¢†‰⁊•·°—±Œ\u{307}É‰ÞµÚÍÓ ”’ÁẞÐ  \u{307}¼½¾‡Æ»\u{301}⟩∼¸    „‚¿",
    ] },
    Table { name: "is", rows: [
        "\u{30a}1234567890ö-qwertyuiopð'asdfghjklæ\u{301}+<zxcvbnm,.þ",
        "\u{308}!\"#$%&/()=Ö_QWERTYUIOPÐ?ASDFGHJKLÆ\u{301}*>ZXCVBNM;:Þ",
        " ¹²³¼½¬{[]}\\\u{327}@ſ€¶ŧ←↓→ø| ~ ß„đŋħ\u{309}ĸł^\u{302}` «»   ”µ•·\u{323}",
        " ¡⅛£¤⅜⅝⅞™±°¿\u{328}Ω§¢®Ŧ¥↑ıØπ \u{304} ẞ“ªŊĦ\u{31b} Ł\u{30b}\u{30c}\u{306}¦  ©‚‘’º×÷\u{307}",
    ] },
    Table { name: "it", rows: [
        "\\1234567890'ìqwertyuiopè+asdfghjklòàù<zxcvbnm,.-",
        "|!\"£$%&/()=?^QWERTYUIOPé*ASDFGHJKLç°§>ZXCVBNM;:_",
        " ¹²³¼½¬    `~ ſ€¶ŧ←↓→øþ[]æßðđŋħ\u{309}ĸł@#\u{300}«   “”ñµ\u{301}·\u{304}",
        "¦¡\u{30b}\u{303}⅛⅜⅝⅞™±\u{328}¿\u{302}Ω ¢®Ŧ¥↑ıØÞ{}ÆẞÐªŊĦ\u{31b} Ł\u{327}\u{30a}\u{306}»  ©‘’Ñº×\u{308}÷",
    ] },
    Table { name: "jp", rows: [
        " 1234567890-^qwertyuiop@[asdfghjkl;:] zxcvbnm,./\\\\",
        " !\"#$%&'()~=~QWERTYUIOP`{ASDFGHJKL+*} ZXCVBNM<>?_|",
        "",
        "",
    ] },
    Table { name: "latam", rows: [
        "|1234567890'¿qwertyuiop\u{301}+asdfghjklñ{}<zxcvbnm,.-",
        "°!\"#$%&/()=?¡QWERTYUIOP\u{308}*ASDFGHJKLÑ[]>ZXCVBNM;:_",
        " |@·~½¬     \u{327} ſ€¶ŧ←↓→øþ ~æßðđŋħ\u{309}ĸł~\u{302}\u{300}\\«» „“”µ• \u{323}",
        "  ⅛£ ⅜⅝⅞™±  \u{328}Ω§¢®Ŧ¥↑ıØÞ\u{30a}\u{304}ÆẞÐªŊĦ\u{31b} Ł\u{30b}{}|  ©‚‘’º×÷\u{307}",
    ] },
    Table { name: "lt", rows: [
        "`ąčęėįšųū„“-žqwertyuiop[]asdfghjkl;'\\–zxcvbnm,./",
        "~ĄČĘĖĮŠŲŪ()_ŽQWERTYUIOP{}ASDFGHJKL:\"|€ZXCVBNM<>?",
        "´1234567890–= ſ€¶ŧ←↓→øþ\u{308}\u{303}æßðđŋħ\u{309}ĸł\u{301}\u{302}\u{300} «»¢  ”µ•·\u{323}",
        "¬!@#$%^&*  ¿+Ω§£®Ŧ¥↑ıØÞ\u{30a}\u{304}ÆẞÐªŊĦ\u{31b} Ł\u{30b}\u{30c}\u{306}¦  ©‚‘’º×÷\u{307}",
    ] },
    Table { name: "lv", rows: [
        "`1234567890-=qwertyuiop[]asdfghjkl;'\\<zxcvbnm,./",
        "~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"|>ZXCVBNM<>?",
        "´¹²³€½¾     –  ēŗ  ūīō «»āš  ģ  ķļ “` ž č  ņ •·",
        " ¡⅛£¢⅜⅝⅞™±°¿—  ĒŖ  ŪĪŌ “”ĀŠ  Ģ  ĶĻ „˘¦Ž Č  Ņ ×÷˙",
    ] },
    Table { name: "nl", rows: [
        "@1234567890/°qwertyuiop\u{308}*asdfghjkl+\u{301}<]zxcvbnm,.-",
        "§!\"#$%&_()'?\u{303}QWERTYUIOP\u{302}|ASDFGHJKL±\u{300}>[ZXCVBNM;:=",
        " ¹²³¼½¾£{}°\\\u{327} ſ€ þÿüïò¶~ áßðªŋħ\u{309}ĸł '     “”ñμ¸·",
        " ¡⅛  ⅜⅝⅞[]™¿\u{328}Ω ¢®Þ¥ÜÏÒ ^\u{304}ÁẞÐ ŊĦ\u{31b} Ł\u{30b}`\u{306}¦  ©‘’Ñº«»\u{307}",
    ] },
    Table { name: "no", rows: [
        "|1234567890+\\qwertyuiopå\u{308}asdfghjkløæ'<zxcvbnm,.-",
        "§!\"#¤%&/()=?\u{300}QWERTYUIOPÅ\u{302}ASDFGHJKLØÆ*>ZXCVBNM;:_",
        "¦¡@£$ ¥{[]}±\u{301} ſ€®þ←↓→œπ \u{303}ªßðđŋħ\u{309}ĸł  \u{30b}½  ©„“”µ\u{327}…–",
        "¶¹²³¼‰⅝÷«»°¿¬Ω ¢™Þ ↑ıŒΠ\u{30a}\u{30c}ºẞÐ ŊĦ\u{31b} Ł  ×¾   ‚‘’ \u{328}·—",
    ] },
    Table { name: "pl", rows: [
        "`1234567890-=qwertyuiop[]asdfghjkl;'\\<zxcvbnm,./",
        "~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"|>ZXCVBNM<>?",
        "¬≠²³¢€½§·«»–\u{327}πœę©ß←↓→óþ\u{308}\u{303}ąśðæŋ’ə…ł\u{301}\u{302}\u{300} żźć„”ńµ≤≥\u{323}",
        "∨¡¿£¼‰∧≈¾±°—\u{328}ΩŒĘ®™¥↑↔ÓÞ\u{30a}\u{304}ĄŚÐÆŊ•Ə Ł\u{30b}\u{30c}\u{306}¦ŻŹĆ‘“Ń∞×÷\u{307}",
    ] },
    Table { name: "pt", rows: [
        "\\1234567890'«qwertyuiop+\u{301}asdfghjklçº\u{303}<zxcvbnm,.-",
        "|!\"#$%&/()=?»QWERTYUIOP*\u{300}ASDFGHJKLÇª\u{302}>ZXCVBNM;:_",
        " ¹@£§½¬{[]} \u{327} ſ€¶ŧ←↓→øþ\u{308} æßðđŋħ\u{309}ĸł   \\   „“”µ•·\u{323}",
        " ¡⅛  ⅜⅝⅞™±°¿\u{328}Ω ¢®Ŧ¥↑ıØÞ\u{30a}\u{304}ÆẞÐ ŊĦ\u{31b} Ł\u{30b}\u{30c}\u{306}\\  ©‚‘’ ×÷\u{307}",
    ] },
    Table { name: "ro", rows: [
        "`1234567890-=qwertyuiop[]asdfghjkl;'\\\\zxcvbnm,./",
        "~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"||ZXCVBNM<>?",
        " \u{303}\u{30c}\u{302}\u{306}\u{30a}\u{328}\u{300}\u{307}\u{301}\u{30b}\u{308}\u{327}âß€ ț  î §„”ășđ     ł      ©    «»",
        "           –±Âẞ  Ț  Î    ĂȘĐ     Ł   ¦",
    ] },
    Table { name: "se", rows: [
        "§1234567890+\u{301}qwertyuiopå\u{308}asdfghjklöä'<zxcvbnm,.-",
        "½!\"#¤%&/()=?\u{300}QWERTYUIOPÅ\u{302}ASDFGHJKLÖÄ*>ZXCVBNM;:_",
        "¶¡@£$€¥{[]}\\± ſ€®þ←↓→œ  \u{303}ªßðđŋħ\u{309}ĸłøæ´|  ©„“”µ\u{327}·\u{323}",
        "¾¹²³¼¢⅝÷«»°¿¬Ω ¢ Þ ↑ıŒ \u{30a}\u{30c}ºẞÐ ŊĦ\u{31b} ŁØÆ×¦   ‚‘’ \u{328}\u{307}",
    ] },
    Table { name: "si", rows: [
        "¸1234567890'+qwertzuiopšđasdfghjklčćž<yxcvbnm,.-",
        "¨!\"#$%&/()=?*QWERTZUIOPŠĐASDFGHJKLČĆŽ>YXCVBNM;:_",
        " \u{303}\u{30c}\u{302}\u{306}\u{30a}\u{328}\u{300}\u{307}\u{301}\u{30b}\u{308}\u{327}\\|€¶ŧ←↓→øþ÷×æ„“[]ħ\u{309}ł  ß¤ ‘’¢@{}§<>—",
        " ~ˇ^˘°˛`˙'˝¨¸ΩŁ€®Ŧ¥↑ıØÞ \u{304}Æ»«ªŊĦ\u{31b}     ¦»«©`'}º  –",
    ] },
    Table { name: "sk", rows: [
        ";+ľščťžýáíé=\u{301}qwertzuiopúäasdfghjklô§ň\\yxcvbnm,.-",
        "\u{30a}1234567890%\u{30c}QWERTZUIOP/(ASDFGHJKL\"!)|YXCVBNM?:_",
        "`!@#$%^&*{  \u{304}\\|€¶ŧ←↓→øþ[]~đĐ[]`'łŁ$'\\/°#&@{}^<>*",
        "~\u{303}\u{30c}\u{302}\u{306}\u{30a}\u{328}\u{300}\u{307}\u{301}\u{30b}\u{308}\u{327}Ω  ®Ŧ¥↑ıØÞ÷×ÆẞÐªŊĦ\u{31b}   ß|¦  ©‚‘’º",
    ] },
    Table { name: "tr", rows: [
        "\"1234567890*-qwertyuıopğüasdfghjklşi,<zxcvbnmöç.",
        "é!'^+%&/()=?_QWERTYUIOPĞÜASDFGHJKLŞİ;>ZXCVBNMÖÇ:",
        "<>£#$½¾{[]}\\|@ €¶₺←ûîô \u{308}~âß ª  \u{309}  ´'` «»¢„“”µ×·\u{307}",
        "°¡²³¼⅜   ± ¿ Ω  ® ¥ÛÎÔ \u{30a}\u{304}Â     \u{31b}  \u{301}\u{30c}\u{300}¦  ©‚‘’º ÷",
    ] },
    Table { name: "us-intl", rows: [
        "\u{300}1234567890-=qwertyuiop[]asdfghjkl;\u{301}\\ zxcvbnm,./",
        "\u{303}!@#$%\u{302}&*()_+QWERTYUIOP{}ASDFGHJKL:\u{308}| ZXCVBNM<>?",
        "`¡²³¤€¼½¾‘’¥×äåé®þüúíóö«»áßð    œø¶'¬ æ ©  ñ ç\u{307}¿",
        "~¹\u{30b}\u{304}£\u{327}^\u{31b}\u{328}\u{306}\u{30a}\u{323}÷ÄÅÉ ÞÜÚÍÓÖ“”Á§Ð    ŒØ°\"¦ Æ ¢  ÑµÇ\u{30c}\u{309}",
    ] },
];
