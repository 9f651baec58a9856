/*
 * m_handoff: HANDOFF/1 for InspIRCd, so that a proxy can move live users between two processes.
 *
 *   Copyright (C) 2026 The ircferry authors
 *
 * This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
 * License as published by the Free Software Foundation, version 2.
 *
 * This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied
 * warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU General Public License for more details.
 *
 * You should have received a copy of the GNU General Public License along with this program; the file COPYING beside
 * this one says where it is if not.
 */


// One line of what PREPARE says (HANDOFF.md, section 7).

#pragma once

namespace Handoff
{
	/** A WARN or a CONFLICT. */
	struct Note
	{
		std::string u, c, code, key, text;
		std::string link; // that it is about, if it is about one
		Note(const std::string& U, const std::string& C, const std::string& Code, const std::string& Key, const std::string& Text, const std::string& Link = "")
			: u(U), c(C), code(Code), key(Key), text(Text), link(Link) { }

		Line Message(const std::string& verb, const std::string& tx) const
		{
			Line m(verb);
			m.Add("tx", tx).Set("l", link).Set("u", u).Set("c", c).Add("code", code).Set("k", key).Set("text", text);
			return m;
		}
	};
}
