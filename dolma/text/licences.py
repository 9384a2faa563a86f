"""Licences by what they ask of those who pass the text on, and SPDX expressions of them.

Copyleft of a file or a library is weak, of the whole work it is full. Proprietary is what forbids a use: commercial, of changed copies, or as a service.
What is in none of these tables is unknown.
"""

import re
from functools import lru_cache

KINDS = ("permissive", "weak_copyleft", "copyleft", "proprietary", "unknown")  # from the one that asks least

# Whole identifiers of the SPDX list 3.25, https://spdx.org/licenses, without the `-only`, `-or-later` or `+` behind them; `-*` is any version.
IDENTIFIERS = {
    # All of Blue Oak's list 15.0.0 (CC0), https://blueoakcouncil.org/list, from which The Stack (arXiv:2211.15533) took its own; then what it leaves out:
    # texts of the same kind as MIT, BSD and HPND, and open licences of data, documents and fonts that ask for a notice.
    "permissive": """
        0BSD AAL Adobe-2006 ADSL AFL-1.1 AFL-1.2 AFL-2.0 AFL-2.1 AFL-3.0 Afmparse AMDPLPA AML AMPAS ANTLR-PD ANTLR-PD-fallback Apache-1.0 Apache-1.1 Apache-2.0
        APAFML Artistic-1.0 Artistic-1.0-cl8 Artistic-1.0-Perl Artistic-2.0 Bahyph Barr bcrypt-Solar-Designer Beerware blessing BlueOak-1.0.0 Borceux
        BSD-1-Clause BSD-2-Clause BSD-2-Clause-Darwin BSD-2-Clause-FreeBSD BSD-2-Clause-NetBSD BSD-2-Clause-Patent BSD-2-Clause-Views BSD-3-Clause
        BSD-3-Clause-Attribution BSD-3-Clause-Clear BSD-3-Clause-HP BSD-3-Clause-LBNL BSD-3-Clause-Modification BSD-3-Clause-No-Nuclear-License-2014
        BSD-3-Clause-No-Nuclear-Warranty BSD-3-Clause-Open-MPI BSD-3-Clause-Sun BSD-4-Clause BSD-4-Clause-Shortened BSD-4-Clause-UC BSD-Source-Code BSL-1.0
        bzip2-1.0.5 bzip2-1.0.6 CC0-1.0 CECILL-B CFITSIO check-cvs ClArtistic Clips CNRI-Jython CNRI-Python CNRI-Python-GPL-Compatible Condor-1.1 Crossword
        CrystalStacker Cube curl diffmark DOC DSDP ECL-1.0 ECL-2.0 EFL-1.0 EFL-2.0 eGenix Entessa Fair FSFAP FSFUL FSFULLR FTL fwlw Giftware GLWTPL hdparm HPND
        HPND-export-US HPND-Fenneberg-Livingston HPND-sell-regexpr HTMLTIDY IBM-pibs ICU IJG IJG-short ImageMagick Info-ZIP Intel Intel-ACPI ISC Jam JasPer-2.0
        Kazlib Leptonica Libpng libpng-2.0 libtiff Linux-OpenIB LPL-1.0 LPL-1.02 LPPL-1.3c LZMA-SDK-9.22 McPhee-slideshow MirOS MIT MIT-0 MIT-advertising
        MIT-CMU MIT-enna MIT-feh MIT-Modern-Variant MIT-open-group MIT-testregex MIT-Wu MITNFA mpich2 MS-PL MTLL MulanPSL-1.0 MulanPSL-2.0 Multics Mup
        NAIST-2003 NASA-1.3 Naumen NBPL-1.0 NCSA Net-SNMP NetCDF Newsletr NICTA-1.0 NIST-Software NLPL NRL NTP NTP-0 OFFIS OGL-Canada-2.0 OGTSL OLDAP-1.1
        OLDAP-1.2 OLDAP-1.3 OLDAP-1.4 OLDAP-2.0 OLDAP-2.0.1 OLDAP-2.1 OLDAP-2.2 OLDAP-2.2.1 OLDAP-2.2.2 OLDAP-2.3 OLDAP-2.4 OLDAP-2.5 OLDAP-2.6 OLDAP-2.7
        OLDAP-2.8 OML OpenSSL PHP-3.0 PHP-3.01 Plexus PostgreSQL PSF-2.0 psutils Python-2.0 python-ldap Qhull Rdisc RSA-MD Ruby Saxpath SGI-B-2.0 SHL-0.5 SMLNJ
        snprintf Spencer-86 Spencer-94 Spencer-99 SSH-short SunPro SWL Symlinks TCL TCP-wrappers TU-Berlin-1.0 TU-Berlin-2.0 UCAR Unicode-DFS-2015
        Unicode-DFS-2016 UnixCrypt Unlicense UPL-1.0 Vim VSL-1.0 W3C W3C-19980720 W3C-20150513 Wsuipa WTFPL X11 Xerox Xfig XFree86-1.1 xinetd xlock Xnet xpp
        XSkat Zed Zend-2.0 Zlib zlib-acknowledgement ZPL-1.1 ZPL-2.0 ZPL-2.1

        Abstyles Adobe-Glyph App-s2p Bitstream-Charter Bitstream-Vera Boehm-GC Brian-Gladman-2-Clause Brian-Gladman-3-Clause BSD-2-Clause-first-lines
        BSD-3-Clause-acpica BSD-3-Clause-flex BSD-4.3RENO BSD-4.3TAHOE BSD-Advertising-Acknowledgement BSD-Attribution-HPND-disclaimer BSD-Source-beginning-file
        BSD-Systemics CC-BY-* CC-PDDC CDLA-Permissive-1.0 CDLA-Permissive-2.0 CERN-OHL-P-2.0 CMU-Mach COIL-1.0 Community-Spec-1.0 DL-DE-BY-2.0 DL-DE-ZERO-2.0
        DocBook-Schema DocBook-XML Dotseqn dtoa dvipdfm EPICS etalab-2.0 EUDatagrid FBM FreeBSD-DOC FSFULLRWD GD Glulxe Graphics-Gems HaskellReport HIDAPI
        HP-1986 HP-1989 HPND-doc HPND-sell-variant Inner-Net-2.0 ISC-Veillard JPNIC Latex2e LOOP lsof LZMA-SDK-9.11-to-9.20 MakeIndex Minpack MIT-Festival
        MIT-Khronos-old mpi-permissive mplus NCGL-UK-2.0 NIST-PD NIST-PD-fallback NLOD-1.0 NLOD-2.0 ODC-By-1.0 OFL-1.1 OFL-1.1-no-RFN OFL-1.1-RFN OGC-1.0
        OGL-UK-1.0 OGL-UK-2.0 OGL-UK-3.0 OpenSSL-standalone OPL-UK-3.0 PDDL-1.0 Pixar pnmstitch psfrag Python-2.0.1 SAX-PD SAX-PD-2.0 SchemeReport Sendmail-8.23
        SGP4 SHL-0.51 softSurfer SSH-OpenSSH SSLeay-standalone StandardML-NJ swrule TermReadKey TTWL ulem Unicode-3.0 w3m X11-distribute-modifications-variant
        X11-swapped Xdebug-1.03 Zeeff
    """,
    "weak_copyleft": """
        APSL-* BitTorrent-* CDDL-* CECILL-C CERN-OHL-W-2.0 CPAL-1.0 CPL-1.0 CUA-OPL-1.0 eCos-2.0 EPL-* ErlPL-1.1 FreeImage Frameworx-1.0
        GPL-2.0-with-autoconf-exception GPL-2.0-with-bison-exception GPL-2.0-with-classpath-exception GPL-2.0-with-font-exception GPL-2.0-with-GCC-exception
        GPL-3.0-with-autoconf-exception GPL-3.0-with-GCC-exception Imlib2 Interbase-1.0 IPL-1.0 LGPL-* LGPLLR LiLiQ-R-1.1 LPPL-* MPL-*
        MPL-2.0-no-copyleft-exception MS-RL Motosoto Nokia NOSL NPL-* OCCT-PL OCLC-2.0 OSET-PL-2.1 RHeCos-1.1 RPSL-1.0 RSCPL SGI-B-1.0 SGI-B-1.1 SISSL SISSL-1.2
        SNIA SPL-1.0 SugarCRM-1.1.3 TPL-1.0 wxWindows YPL-* Zimbra-*
    """,
    "copyleft": """
        AGPL-* APL-1.0 CAL-1.0 CAL-1.0-Combined-Work-Exception CATOSL-1.1 CC-BY-SA-* CDL-1.0 CDLA-Sharing-1.0 CECILL-1.0 CECILL-1.1 CECILL-2.0 CECILL-2.1
        CERN-OHL-1.1 CERN-OHL-1.2 CERN-OHL-S-2.0 copyleft-next-* D-FSL-1.0 EUPL-* GFDL-* GPL-* LAL-* LiLiQ-Rplus-1.1 Linux-man-pages-copyleft NGPL NPOSL-3.0
        ODbL-1.0 OPL-1.0 OPUBL-1.0 OSL-* Parity-* QPL-1.0 QPL-1.0-INRIA-2004 RPL-* SimPL-2.0 Sleepycat SSPL-1.0 TAPR-OHL-1.0 TGPPL-1.0 TOSL Watcom-1.0
    """,
    "proprietary": """
        Aladdin BUSL-1.1 C-UDA-1.0 CC-BY-NC-* CC-BY-NC-ND-* CC-BY-NC-SA-* CC-BY-ND-* CPOL-1.02 Elastic-2.0 Hippocratic-2.1 JPL-image LicenseRef-Proprietary NCL
        PolyForm-Noncommercial-* PolyForm-Small-Business-* PPL TPDL
    """,
}  # fmt: skip
# Exceptions of the SPDX list. With one of `linking`, what is linked with a copyleft work, or made by it, is free of it; the others leave the kind as it is.
EXCEPTIONS = {
    "linking": """
        389-exception Autoconf-exception-2.0 Autoconf-exception-3.0 Autoconf-exception-generic Autoconf-exception-generic-3.0 Autoconf-exception-macro
        Bison-exception-1.24 Bison-exception-2.2 Bootloader-exception Classpath-exception-2.0 CLISP-exception-2.0 eCos-exception-2.0
        erlang-otp-linking-exception Fawkes-Runtime-exception FLTK-exception Font-exception-2.0 freertos-exception-2.0 GCC-exception-2.0 GCC-exception-2.0-note
        GCC-exception-3.1 GNAT-exception GNU-compiler-exception gnu-javamail-exception GPL-3.0-linking-exception GPL-3.0-linking-source-exception
        i2p-gpl-java-exception LGPL-3.0-linking-exception Libtool-exception LLGPL mif-exception Nokia-Qt-exception-1.1 OCaml-LGPL-linking-exception
        OpenJDK-assembly-exception-1.0 Qt-GPL-exception-1.0 Qt-LGPL-exception-1.1 Qwt-exception-1.0 romic-exception SANE-exception WxWindows-exception-3.1
    """,
    "other": """
        Asterisk-exception Asterisk-linking-protocols-exception cryptsetup-OpenSSL-exception DigiRule-FOSS-exception fmt-exception Gmsh-exception
        GNOME-examples-exception GPL-3.0-interface-exception GPL-CC-1.0 GStreamer-exception-2005 GStreamer-exception-2008 KiCad-libraries-exception
        libpri-OpenH323-exception Linux-syscall-note LLVM-exception LZMA-exception OCCT-exception-1.0 openvpn-openssl-exception PCRE2-exception
        PS-or-PDF-font-exception-20170817 QPL-1.0-INRIA-2004-exception RRDtool-FLOSS-exception-2.0 SHL-2.0 SHL-2.1 stunnel-exception SWI-exception
        Swift-exception Texinfo-exception u-boot-exception-2.0 UBDL-exception Universal-FOSS-exception-1.0 vsftpd-openssl-exception x11vnc-openssl-exception
    """,
}
# Names in use that are no identifiers: the trove classifiers of Python packages, and short forms. What ends with "public domain" is
# permissive.
NAMES = {
    "permissive": """
        Academic Free License (AFL)|Apache 2.0|Apache License 2.0|Apache License, Version 2.0|Apache Software License|Artistic License|Artistic License 2.0
        |Boost Software License 1.0 (BSL-1.0)|BSD|BSD License|CC0 1.0 Universal (CC0 1.0) Public Domain Dedication
        |Historical Permission Notice and Disclaimer (HPND)|ISC License|ISC License (ISCL)|MIT License|MIT No Attribution License (MIT-0)
        |Mulan Permissive Software License v2 (MulanPSL-2.0)|PSF|Python Software Foundation License|The Unlicense (Unlicense)
        |Universal Permissive License (UPL)|University of Illinois/NCSA Open Source License|W3C License|X.Net License|Zero-Clause BSD (0BSD)
        |zlib/libpng License|Zope Public License
    """,
    "weak_copyleft": """
        Common Development and Distribution License 1.0 (CDDL-1.0)|Common Public License|Eclipse Public License 1.0 (EPL-1.0)
        |Eclipse Public License 2.0 (EPL-2.0)|GNU Lesser General Public License v2 (LGPLv2)|GNU Lesser General Public License v2 or later (LGPLv2+)
        |GNU Lesser General Public License v3 (LGPLv3)|GNU Lesser General Public License v3 or later (LGPLv3+)
        |GNU Library or Lesser General Public License (LGPL)|IBM Public License|LGPL|Mozilla Public License 1.0 (MPL)|Mozilla Public License 1.1 (MPL 1.1)
        |Mozilla Public License 2.0 (MPL 2.0)|MPL
    """,
    "copyleft": """
        AGPL|European Union Public Licence 1.0 (EUPL 1.0)|European Union Public Licence 1.1 (EUPL 1.1)|European Union Public Licence 1.2 (EUPL 1.2)
        |GNU Affero General Public License v3|GNU Affero General Public License v3 or later (AGPLv3+)|GNU Free Documentation License (FDL)
        |GNU General Public License|GNU General Public License (GPL)|GNU General Public License v2 (GPLv2)|GNU General Public License v2 or later (GPLv2+)
        |GNU General Public License v3 (GPLv3)|GNU General Public License v3 or later (GPLv3+)|GPL|Open Software License 3.0 (OSL-3.0)
        |Qt Public License (QPL)|Sleepycat License
    """,
    "proprietary": """
        Free For Home Use|Free for non-commercial use|Freely Distributable Not For Resale|Other/Proprietary License|Proprietary|Proprietary License
    """,
}  # fmt: skip

MOST_BRACKETS = 64  # of real expressions none has ten
_MARKS = re.compile(r"(?i)\s*([()/]|(?:(?<=\s)|(?<=\)))(?:AND|OR|WITH)(?=[\s(]))\s*")
_SUFFIX = re.compile(r"(\+|-only|-or-later)$")
_VERSION = re.compile(r"-\d[\w.]*(-[a-z]{2,3}|-(no-)?invariants)?$")
_PUBLIC = re.compile(r"(^|[\s-])public[\s-]domain$")


def _ranks(table: dict[str, str], separator: str | None = None) -> dict[str, int]:
    return {" ".join(name.lower().split()): KINDS.index(kind) for kind, names in table.items() for name in names.split(separator)}


_RANKS = _ranks(IDENTIFIERS) | _ranks(NAMES, "|")
_LINKING, _OTHER = (frozenset(names.lower().split()) for names in EXCEPTIONS.values())


@lru_cache(10_000)
def kind_of(expression: str | None) -> str:
    """The kind, one of `KINDS`, of an SPDX expression or of a name in use.

    Of `A OR B` the one that asks less counts, of `A AND B` the one that asks more. `/` is read as OR, as in old files of Cargo; `;` as AND between wholes.
    None, what is no expression, and a licence or an exception that is in no table are unknown; but an unknown alternative takes no choice away.
    """
    return KINDS[max(_whole(part) for part in (expression or "").split(";"))]


def _whole(text: str) -> int:
    if (rank := _rank(text)) is not None:
        return rank
    tokens = [token.lower() for token in reversed(_MARKS.split(" ".join(text.split()))) if token.strip()]
    try:
        rank = _any(tokens) if tokens.count("(") <= MOST_BRACKETS else None
    except (IndexError, ValueError):
        rank = None
    return KINDS.index("unknown") if rank is None or tokens else rank


def _any(tokens: list[str]) -> int:
    """The rank of the expression that ends `tokens`, which are in reverse; it takes them away."""
    ranks = [_all(tokens)]
    while tokens and tokens[-1] in ("or", "/"):
        tokens.pop()
        ranks.append(_all(tokens))
    return min(ranks)


def _all(tokens: list[str]) -> int:
    ranks = [_one(tokens)]
    while tokens and tokens[-1] == "and":
        tokens.pop()
        ranks.append(_one(tokens))
    return max(ranks)


def _one(tokens: list[str]) -> int:
    unknown = KINDS.index("unknown")
    if (token := tokens.pop()) == "(":
        rank = _any(tokens)
        if tokens.pop() != ")":
            raise ValueError("a bracket is not closed")
        return rank
    if token in (")", "or", "and", "with", "/"):
        raise ValueError(f"`{token}` where a licence should be")
    rank = _rank(token)
    rank = unknown if rank is None else rank
    if not (tokens and tokens[-1] == "with"):
        return rank
    tokens.pop()
    exception = tokens.pop()
    if exception in _LINKING:
        return KINDS.index("weak_copyleft") if rank == KINDS.index("copyleft") else rank
    return rank if exception in _OTHER else unknown


def _rank(name: str) -> int | None:
    """The place in `KINDS` of one licence, None where it is in no table."""
    name = " ".join(name.lower().split())
    bare = _SUFFIX.sub("", name)
    family = _VERSION.sub("-*", bare)
    found = next((key for key in (name, bare, family) if key in _RANKS), None)
    if found is None:
        return KINDS.index("permissive") if _PUBLIC.search(name) else None
    return _RANKS[found]
