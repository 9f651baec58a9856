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

// Who is connected, and the one export and the one import that may be open.

#pragma once

namespace Handoff
{
	class Hub
	{
	 public:
		World world;
		Network network;
		Homecoming home;
		Source source;
		std::string exporttx;  // not empty: the world stands still
		std::string exportlinks; // names of links that its coordinator holds
		Import* import;        // or nullptr
		std::set<Control*> controls;
		std::set<StreamSock*> streamsocks;
		Stream* opening;       // of the user whom AddUser is making

		Hub(Module* mod)
			: world(mod), network(mod), source(world), import(nullptr), opening(nullptr)
		{
		}

		~Hub() { delete import; }

		std::unordered_set<EventHandler*> NoLinks() const;
		bool BarsUsers() const { return home.BarsUsers() || (import && import->links); } // nobody registers: the ids are those of users who come back
		void Abort();          // the open import
		void Thaw();           // every end of a frozen world but RELEASE
		void CloseAll();
		void Sweep();          // once a second: who does not speak, who does not listen, leases, bans

		/** Whether a listener is of one of our types. */
		static bool IsType(const ListenSocket* via, const char* type) { return !strcasecmp(via->bind_tag->getString("type").c_str(), type); }

		/** The listener for streams, or nullptr. */
		static ListenSocket* StreamListener()
		{
			for (std::vector<ListenSocket*>::iterator i = ServerInstance->ports.begin(); i != ServerInstance->ports.end(); ++i)
				if (IsType(*i, "handoff-stream"))
					return *i;
			return nullptr;
		}
	};
}
