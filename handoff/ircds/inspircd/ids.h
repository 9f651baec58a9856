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


// Ids of users: those of the records where they can be kept, and what becomes of them where not.

#pragma once

namespace Handoff
{
	/** Whether it is an id as InspIRCd makes them. */
	inline bool IsID(const std::string& s)
	{
		bool fits = s.length() == UIDGenerator::UUID_LENGTH && IsDigit(s[0]);
		for (size_t i = 0; i < s.length() && fits; ++i)
			fits = IsUpper(s[i]) || IsDigit(s[i]);
		return fits;
	}

	/** Whether it is free and ours to give. */
	inline bool IsFree(const std::string& id)
	{
		return IsID(id) && !id.compare(0, 3, ServerID()) && !UserWithID(id);
	}

	/** The latest id that was given. */
	inline const std::string& LastGivenID() { return ServerInstance->UIDGen.*Private(LastID()); }

	/** Whether the generator gives an id of ours later than another one, which may be where it begins: nines. */
	inline bool IsLaterID(const std::string& id, const std::string& than)
	{
		const auto place = [](char c) { return IsDigit(c) ? 26 + (c - '0') : c - 'A'; };
		if (!IsID(id) || !IsUpper(id[3]) || id.compare(0, 3, ServerID()))
			return false;
		if (!IsID(than) || !IsUpper(than[3]))
			return true;
		for (size_t i = 3; i < id.length(); ++i)
			if (id[i] != than[i])
				return place(id[i]) > place(than[i]);
		return false;
	}

	/** Has the generator never give ids up to this one again. */
	inline void PassID(const std::string& last)
	{
		if (IsLaterID(last, LastGivenID()))
			ServerInstance->UIDGen.*Private(LastID()) = last;
	}

	/** Whether a user who comes back can have it: it is ours, and nobody who has registered has it. */
	inline bool CanHaveID(const std::string& id)
	{
		User* const holder = UserWithID(id);
		return IsID(id) && !id.compare(0, 3, ServerID()) && !(holder && IsRegistered(holder));
	}

	/** Of one import. Choose for all users comes before the first Rewrite. */
	class NewIDs
	{
		std::map<std::string, std::string> newids; // id of the record: id here

	 public:
		/** Replaces ids that have changed, where they stand as words of their own. */
		std::string Rewrite(const std::string& value) const
		{
			if (newids.empty())
				return value;
			std::string out;
			for (size_t pos = 0; pos < value.length(); )
			{
				size_t end = pos;
				while (end < value.length() && isalnum(static_cast<unsigned char>(value[end])))
					end++;
				std::map<std::string, std::string>::const_iterator id = newids.find(value.substr(pos, end - pos));
				out.append(id == newids.end() ? value.substr(pos, end - pos) : id->second);
				for (pos = end; pos < value.length() && !isalnum(static_cast<unsigned char>(value[pos])); ++pos)
					out.push_back(value[pos]);
			}
			return out;
		}

		/** The id of the record where that can be. */
		std::string Choose(const Line& r)
		{
			const std::string& id = r.Get("id");
			if (IsFree(id))
				return id;
			const std::string fresh = ServerInstance->UIDGen.GetUID();
			if (IsID(id))
				newids[id] = fresh;
			return fresh;
		}
	};
}
