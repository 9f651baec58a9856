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


// The network as this process knows it: which servers are linked, who is behind which link.

#pragma once

namespace Handoff
{
	/** A server of the network, other than this one. */
	struct ServerFacts
	{
		std::string name, parent, desc;
		std::string link;      // the name of the directly linked server that it is behind: its own, or another
		const Server* server;  // nullptr: it linked before this module was loaded, and has no user
		bool Direct() const { return name == link; }
	};

	/** Hears who links and splits. The core tells names only; ids are told by this, or by users. */
	class Network : public ServerProtocol::LinkEventListener
	{
		std::map<std::string, const Server*> known;
		std::set<std::string> bursting;

	 public:
		Network(Module* mod) : ServerProtocol::LinkEventListener(mod) { }

		void OnServerLink(const Server* server) override
		{
			known[server->GetName()] = server;
			bursting.insert(server->GetName());
		}

		void OnServerBurst(const Server* server) override { bursting.erase(server->GetName()); }

		void OnServerSplit(const Server* server, bool) override
		{
			known.erase(server->GetName());
			bursting.erase(server->GetName());
		}

		/** Whether the burst of a directly linked server is not at its end. */
		bool IsBursting(const std::string& name) const { return bursting.count(name); }

		/** All servers, parents first. */
		std::vector<ServerFacts> Servers()
		{
			ProtocolInterface::ServerList list;
			ServerInstance->PI->GetServerList(list);
			std::multimap<std::string, const ProtocolInterface::ServerInfo*> children;
			bool missing = false;
			for (const ProtocolInterface::ServerInfo& s : list)
			{
				if (s.servername == OwnName())
					continue;
				children.insert(std::make_pair(s.parentname, &s));
				missing = missing || !known.count(s.servername);
			}
			if (missing)
				LearnFromUsers();
			std::vector<ServerFacts> servers;
			AddChildren(children, OwnName(), "", servers);
			return servers;
		}

		/** Whether a server of the name or the id is in the network. */
		bool Has(const std::string& name, const std::string& sid)
		{
			for (const ServerFacts& s : Servers())
				if (!strcasecmp(s.name.c_str(), name.c_str()) || (s.server && s.server->GetId() == sid))
					return true;
			return sid == ServerID();
		}

		/** The directly linked server of the name and the id, or nullptr. Without knowledge of its id the name counts. */
		static const ServerFacts* Direct(const std::vector<ServerFacts>& servers, const std::string& name, const std::string& sid)
		{
			for (const ServerFacts& s : servers)
				if (s.Direct() && s.name == name && (!s.server || s.server->GetId() == sid))
					return &s;
			return nullptr;
		}

	 private:
		typedef std::multimap<std::string, const ProtocolInterface::ServerInfo*> Children;

		void AddChildren(const Children& children, const std::string& parent, const std::string& link, std::vector<ServerFacts>& servers) const
		{
			const auto [begin, end] = children.equal_range(parent);
			for (Children::const_iterator c = begin; c != end; ++c)
			{
				const std::string& name = c->second->servername;
				const auto server = known.find(name);
				servers.push_back({ name, parent, c->second->description, link.empty() ? name : link, server == known.end() ? nullptr : server->second });
				AddChildren(children, name, link.empty() ? name : link, servers);
			}
		}

		/** For servers that linked before this module was loaded. */
		void LearnFromUsers()
		{
			for (const auto& entry : ServerInstance->Users.GetUsers())
				if (!IS_LOCAL(entry.second))
					known[entry.second->server->GetName()] = entry.second->server;
		}
	};

	/** How many have an id in place of their nick: they have lost it to somebody else. */
	inline size_t Saved(const std::vector<User*>& users)
	{
		return std::count_if(users.begin(), users.end(), [](const User* user) { return user->nick == user->uuid; });
	}

	/** Who is behind which of some links. Good as long as the network does not change. */
	class Behind
	{
		std::unordered_map<const Server*, size_t> links;

	 public:
		static constexpr size_t None = static_cast<size_t>(-1);

		/** names: of directly linked servers; their places there are what Of answers. */
		Behind(const std::vector<ServerFacts>& servers, const std::vector<std::string>& names)
		{
			for (const ServerFacts& s : servers)
			{
				const size_t at = std::find(names.begin(), names.end(), s.link) - names.begin();
				if (s.server && at < names.size())
					links[s.server] = at;
			}
		}

		size_t Of(const User* user) const
		{
			const auto found = links.find(user->server);
			return found == links.end() ? None : found->second;
		}
	};
}
