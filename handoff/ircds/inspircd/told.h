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


// What WARN and CONFLICT say for people.

#pragma once

namespace Handoff
{
	/** Names in a warning something that a channel does not get. Values may be secrets: only those of lists are named. */
	inline void NameLost(std::string& text, const std::string& what)
	{
		static const std::string first = "; lost: ", more = ", and more";
		if (text.find(first) == std::string::npos)
			text += first + what;
		else if (text.length() + what.length() <= 1024)
			text += ", " + what;
		else if (text.compare(text.length() - more.length(), more.length(), more))
			text += more;
	}

	/** Whether a channel has the mode of a record, with its parameter. One that is none here was told of. */
	inline bool IsSet(ModeHandler* mh, Channel* chan, const Field& f)
	{
		return !mh || mh->IsPrefixMode() || mh->IsListModeBase() || (chan->IsModeSet(mh) && (f.bare || chan->GetModeParameter(mh) == f.value));
	}

	inline bool IsListed(ModeHandler* mh, Channel* chan, const std::string& mask)
	{
		const ListModeBase::ModeList* const list = chan ? mh->IsListModeBase()->GetList(chan) : nullptr;
		if (list)
			for (const ListModeBase::ListItem& entry : *list)
				if (irc::equals(entry.mask, mask))
					return true;
		return false;
	}

	/** Who has a nick. */
	inline std::string HolderOf(User* user, const Streams& streams)
	{
		if (!user || !IsRegistered(user))
			return "the nick is reserved by an import";
		LocalUser* const local = IS_LOCAL(user);
		const Stream* const stream = local ? streams.Get(local) : nullptr;
		const std::string who = user->nick + "!" + Ident(user) + "@" + user->GetDisplayedHost() + " has the nick";
		if (stream)
			return who + ", as session " + stream->u;
		return who + (local ? ", and came past the proxy" : ", on " + user->server->GetName());
	}
}
